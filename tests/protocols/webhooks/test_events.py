"""Messages are formed from the records of a second, and always in the same way."""

import json

from protocols.webhooks.events import (
    DEVICE_INVALID,
    EVENT_TYPES,
    LANE_DOWN,
    LANE_UP,
    MESSAGE_EVENTS,
    PING_COMPLETED,
    PING_EVENTS,
    PING_FAILED_DEVICES,
    EventRecord,
    messages_of,
    trial_message,
)

AT = 1_796_140_016_187


def record(number: int, **events: int) -> EventRecord:
    kinds = {"completed": PING_COMPLETED, "failed": PING_FAILED_DEVICES, "invalid": DEVICE_INVALID}
    return EventRecord(
        f"{AT + number}-0",
        {kinds[name]: [{"from": number, "n": n} for n in range(count)] for name, count in events.items()},
    )


def test_events_of_one_type_are_joined_in_their_order() -> None:
    found = messages_of([record(0, completed=1), record(1, completed=2, failed=1)])
    assert [(one.id, one.kind, len(one.data)) for one in found] == [
        (f"msg_{AT + 1}-0_ping-failed_devices", PING_FAILED_DEVICES, 1),
        (f"msg_{AT}-0_ping-completed", PING_COMPLETED, 3),
    ]
    assert [event["from"] for event in found[1].data] == [0, 1, 1]
    assert found == messages_of([record(0, completed=1), record(1, completed=2, failed=1)])


def test_a_message_has_a_bound_and_a_record_stays_whole() -> None:
    found = messages_of([record(n, completed=MESSAGE_EVENTS // 2 + 1) for n in range(3)])
    assert [len(one.data) for one in found] == [MESSAGE_EVENTS // 2 + 1] * 3
    (one,) = messages_of([record(0, completed=MESSAGE_EVENTS * 2)])
    assert len(one.data) == MESSAGE_EVENTS * 2


def test_lanes_have_messages_of_their_own_in_their_order() -> None:
    records = [
        EventRecord(f"{AT}-{n}", {kind: [{"lane": "apns:one"}]}, alone=True)
        for n, kind in enumerate((LANE_DOWN, LANE_UP, LANE_DOWN))
    ]
    assert [one.kind for one in messages_of(records)] == [LANE_DOWN, LANE_UP, LANE_DOWN]
    assert len({one.id for one in messages_of(records)}) == 3


def test_a_body_has_the_form_of_the_specification() -> None:
    (one,) = messages_of([record(0, completed=1)])
    assert json.loads(one.body()) == {
        "type": "ping.completed",
        "timestamp": "2026-12-01T15:46:56.187Z",
        "data": [{"from": 0, "n": 0}],
    }
    assert "." not in one.id


def test_no_events_make_no_message() -> None:
    assert messages_of([]) == []
    assert messages_of([record(0)]) == []


def test_the_tables_agree() -> None:
    assert set(PING_EVENTS) < set(EVENT_TYPES)
    assert trial_message("crm", "ab", AT).kind not in EVENT_TYPES


def test_a_message_may_have_exactly_its_bound() -> None:
    found = messages_of([record(n, completed=MESSAGE_EVENTS // 2) for n in range(3)])
    assert [len(one.data) for one in found] == [MESSAGE_EVENTS, MESSAGE_EVENTS // 2]
