"""The rest of a second keeps its ids, whatever records the outbox loses or receives meanwhile."""

import itertools

import pytest

from protocols.webhooks.events import (
    DEVICE_INVALID,
    LANE_DOWN,
    LANE_UP,
    MESSAGE_EVENTS,
    PING_COMPLETED,
    PING_FAILED_DEVICES,
    EventRecord,
    Message,
    messages_of,
)
from protocols.webhooks.progress import DeliveryProgress, position, remaining

AT = 1_796_140_016_187
LONG = MESSAGE_EVENTS // 2 + 1


def pings(number: int, **counts: int) -> EventRecord:
    kinds = {"completed": PING_COMPLETED, "failed": PING_FAILED_DEVICES, "invalid": DEVICE_INVALID}
    events = {kinds[kind]: [{"from": number, "n": n} for n in range(count)] for kind, count in counts.items()}
    return EventRecord(f"{AT}-{number}", events)


def lane(number: int, kind: str) -> EventRecord:
    return EventRecord(f"{AT}-{number}", {kind: [{"from": number, "n": 0}]}, alone=True)


SECOND = [
    pings(0, completed=2, failed=1),
    lane(1, LANE_DOWN),
    pings(2, completed=LONG, invalid=1),
    pings(3, completed=LONG, failed=LONG),
    lane(4, LANE_UP),
    pings(5, completed=1, failed=LONG),
]
MESSAGES = messages_of(SECOND)
UNTIL = SECOND[-1].record


def progress(done: int, tried: int | None) -> DeliveryProgress:
    """After `done` messages; the message with the number `tried` was attempted."""
    sent = MESSAGES[done - 1] if done else Message("", "", 0, [])
    attempted = sent._replace(id="", last="") if tried is None else MESSAGES[tried]
    return DeliveryProgress(UNTIL, sent.id, sent.last, attempted.id, attempted.last)


def events(messages: list[Message]) -> list[tuple[str, int, int]]:
    return [(one.kind, event["from"], event["n"]) for one in messages for event in one.data]


@pytest.mark.parametrize("done", range(len(MESSAGES) + 1))
def test_without_losses_the_rest_is_what_it_was(done: int) -> None:
    assert len(MESSAGES) == 7
    assert remaining(SECOND, progress(done, None)) == MESSAGES[done:]
    if done < len(MESSAGES):
        assert remaining(SECOND, progress(done, done)) == MESSAGES[done:]


@pytest.mark.parametrize("lost", range(1, len(SECOND)))
@pytest.mark.parametrize("done", range(len(MESSAGES)))
def test_after_losses_no_event_is_repeated_and_a_tried_message_keeps_its_id(done: int, lost: int) -> None:
    kept = SECOND[lost:]
    left = remaining(kept, progress(done, done))
    there = {record.record for record in kept}
    expected = [one for message in MESSAGES[done:] for one in events([message]) if f"{AT}-{one[1]}" in there]
    assert events(left) == expected
    for old, new in itertools.product(MESSAGES[: done + 1], left):
        assert (old.id == new.id) == (old is MESSAGES[done] and set(events([new])) <= set(events([old])))
    untouched = [one for one in MESSAGES[done + 1 :] if one.id.split("_")[1] in there]
    assert [one for one in left if one.id in {two.id for two in untouched}] == untouched


def test_a_second_that_was_not_begun_is_formed_anew() -> None:
    assert remaining(SECOND, DeliveryProgress()) == MESSAGES


def test_ids_of_records_compare_as_numbers() -> None:
    assert position("9-2") < position("10-1") < position("10-18446744073709551615")
    assert position("") == position("x-y") == (0, 0)
