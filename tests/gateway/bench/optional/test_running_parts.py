"""The parts of one running gateway, measured in one pair each, as small as they can be."""

import io

import pytest

from gateway.bench.bench import Bench, Options
from gateway.bench.optional import RUNNING
from gateway.bench.optional.running_parts import PAGES, ConsoleAndScrapes, Syncs
from gateway.bench.scenarios import run_scenario
from gateway.system.progress import Progress

pytestmark = pytest.mark.usefixtures("forked")

PINGS = 1_000
USERS = 2_000
RATE = 1_000.0


def test_pages_are_open_and_syncs_have_effects_while_pings_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.bench.scenarios.optional.WITH_SETTINGS", ())
    monkeypatch.setattr("gateway.bench.scenarios.optional.PAIRS", 1)
    monkeypatch.setattr(ConsoleAndScrapes, "factor", 1)
    monkeypatch.setattr("gateway.bench.optional.running_parts.SYNC_AFTER_S", 0.1)
    for part in (ConsoleAndScrapes, Syncs):  # about a second: long enough for a scrape
        monkeypatch.setattr(part, "rate", RATE)
    options = Options(pings=PINGS, users=USERS, connections=4, peers=False)
    result = run_scenario("optional", Bench(options, Progress(io.StringIO())))
    figures = {figure.name: figure.value for figure in result.figures}
    console, syncs, headers = (part.name for part in RUNNING)
    assert figures[f"{console}: pages open"] == PAGES
    assert figures[f"{console}: states shown"] >= PAGES
    assert figures[f"{console}: scrapes"] >= 1
    # 30 % of 2,000 devices in 10 s, for a second; every user was pinged before
    assert figures[f"{syncs}: syncs"] == 60
    assert figures[f"{syncs}: effects"] >= 60
    assert figures[f"{headers}: gateway CPU a ping with"] > 0
    assert [(ratio.name.partition(":")[0], ratio.bar) for ratio in result.ratios] == [
        (part.name, part.bar) for part in RUNNING
    ]
    for part in RUNNING:
        with_it, without = (
            figures[f"{part.name}: gateway CPU a ping {side}"] for side in ("with", "without")
        )
        ratio = next(ratio for ratio in result.ratios if ratio.name.startswith(part.name))
        assert ratio.value == with_it / without
    ((bars,),) = [plot.lines for plot in result.plots]
    assert [name for name, _ in bars.points] == [part.name for part in RUNNING]
