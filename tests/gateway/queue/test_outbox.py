"""The extended script of the settlement, and the plan of events. `tests/gateway/webhooks` reads what it writes."""

import pytest

from gateway.queue import outbox
from gateway.queue.outbox import SETTLE_WITH_EVENTS, EventPlan, FinishedPing, OutboxRecord, UnfinishedPing
from gateway.queue.scripts import SETTLE


def test_the_script_is_the_settlement_and_the_events() -> None:
    text = SETTLE_WITH_EVENTS.text
    for line in SETTLE.text.splitlines():
        assert line in text
    assert text.index("local unfinished = ") < text.index("redis.call('XACK'")
    assert text.rstrip().endswith("return 1")


@pytest.mark.parametrize("text", ["return 1\n", SETTLE.text + "\nreturn 2\n", SETTLE.text * 2])
def test_another_script_has_no_place_for_events(text: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        outbox._with_events(text)


def test_the_arguments_of_a_record() -> None:
    record = OutboxRecord(
        500, b"body", "ba", [UnfinishedPing("receipt", FinishedPing(3, 1, 2, 4, 5))], b"traces"
    )
    assert record.arguments() == [500, b"body", "ba", b"traces", 1, "receipt", 3, 1, 2, 4, 5]


def test_a_plan_has_the_types_of_all_endpoints() -> None:
    assert not any((EventPlan().completed, EventPlan().rejected, EventPlan().dead, EventPlan().wanted))
    plan = EventPlan(frozenset({"ping.completed", "device.token_invalid"}))
    assert (plan.completed, plan.rejected, plan.dead) == (True, False, True)
