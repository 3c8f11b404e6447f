"""The parts that a setting switches on, measured in one pair each, as small as they can be.

The gateway without a part is the same for all of them.
"""

import importlib.util
import io
from pathlib import Path

import aiohttp
import pytest

from gateway.bench.bench import Bench, Options
from gateway.bench.child import Child
from gateway.bench.optional import WITH_SETTINGS
from gateway.bench.optional.settings_parts import Tracing, UnusedWebhook, Webhook
from gateway.bench.result import Result
from gateway.bench.roles.receiver import WEBHOOKS, ReceiverCounts
from gateway.bench.scenarios import run_scenario
from gateway.system.progress import Progress
from tests.gateway.bench.conftest import CONNECTIONS, USERS

pytestmark = pytest.mark.usefixtures("forked")

PINGS = 1_000


def small() -> Result:
    options = Options(pings=PINGS, users=USERS, connections=CONNECTIONS, peers=False)
    return run_scenario("optional", Bench(options, Progress(io.StringIO())))


@pytest.fixture
def one_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.bench.scenarios.optional.RUNNING", ())
    monkeypatch.setattr("gateway.bench.scenarios.optional.PAIRS", 1)
    monkeypatch.setattr("gateway.bench.optional.settings_parts.AFTER_S", 0.1)


@pytest.mark.usefixtures("one_pair", "shared_stand")
def test_events_and_spans_come_to_the_receiver_and_an_unused_webhook_receives_none() -> None:
    result = small()
    figures = {figure.name: figure.value for figure in result.figures}
    assert figures[f"{Webhook.name}: events received"] == PINGS + USERS
    assert figures[f"{UnusedWebhook.name}: events received"] == 0
    # 1 % of 3,000 pings with four spans each; the share is random
    assert 4 <= figures[f"{Tracing.name}: spans exported"] <= 4 * (PINGS + USERS) // 10
    assert [(ratio.name.partition(":")[0], ratio.bar) for ratio in result.ratios] == [
        (part.name, part.bar) for part in WITH_SETTINGS
    ]
    assert all(ratio.value > 0 for ratio in result.ratios)


@pytest.mark.usefixtures("one_pair")
def test_without_the_packages_of_tracing_the_report_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.bench.scenarios.optional.WITH_SETTINGS", (Tracing,))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = small()
    assert result.ratios == ()
    assert result.notes[1:] == (
        "tracing of 1 %: not measured: it needs the extra `tracing` (pip install '.[tracing]')",
    )


@pytest.mark.usefixtures("one_pair")
def test_with_a_redis_of_the_caller_the_report_says_why_no_part_is_measured() -> None:
    options = Options(pings=PINGS, users=USERS, redis="unix:///nowhere", peers=False)
    result = run_scenario("optional", Bench(options, Progress(io.StringIO())))
    assert result.ratios == ()
    assert [note.partition(":")[0] for note in result.notes[1:]] == [part.name for part in WITH_SETTINGS]
    assert all(note.endswith("not one --redis") for note in result.notes[1:])


async def test_events_of_a_repeated_message_count_once(tmp_path: Path) -> None:
    with Child("receiver", tmp_path) as receiver:
        url = f"http://127.0.0.1:{receiver.receive(int)}{WEBHOOKS}"
        async with aiohttp.ClientSession() as session:
            for number in ("one", "one", "two"):
                message = {"type": "ping.completed", "data": [{"ping_id": "1"}, {"ping_id": "2"}]}
                async with session.post(url, json=message, headers={"webhook-id": number}) as answer:
                    assert answer.status == 204
        assert receiver.request(None, ReceiverCounts) == ReceiverCounts(events=4)
