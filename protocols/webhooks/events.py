"""The event types of webhooks, and the messages in which endpoints receive events.

A message has the form of the Standard Webhooks specification: a JSON object with `type`, `timestamp` and `data`. All
events of a message have one type, and `data` is the list of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from protocols.instants import instant_text

PING_FAILED_DEVICES: Final = "ping.failed_devices"
DEVICE_INVALID: Final = "device.token_invalid"
PING_COMPLETED: Final = "ping.completed"
LANE_DOWN: Final = "lane.down"
LANE_UP: Final = "lane.up"
CREDENTIAL_REFUSED: Final = "credential.refused"
CREDENTIAL_EXPIRING: Final = "credential.expiring"
TEST: Final = "webhook.test"
"""Type of the message that an operator sends to test an endpoint; no setting can name it."""

EVENT_TYPES: Final[Mapping[str, str]] = {
    PING_FAILED_DEVICES: "devices whose deliveries of a ping were finally rejected",
    DEVICE_INVALID: "a provider rejected a device's push token as invalid",
    PING_COMPLETED: "every delivery of a ping has a final verdict",
    LANE_DOWN: "a lane has deliveries and cannot send",
    LANE_UP: "a lane that was down can send again",
    CREDENTIAL_REFUSED: "a provider refused a credential",
    CREDENTIAL_EXPIRING: "a certificate expires soon, or has expired",
}
"""Event type -> meaning. The events of pings are in the order in which one ping causes them."""

PING_EVENTS: Final = (PING_FAILED_DEVICES, DEVICE_INVALID, PING_COMPLETED)
"""Event types that settlements cause, in the order in which one ping causes them."""

MESSAGE_EVENTS: Final = 500
"""Number of events, some 100 KB, after which the next record begins another message."""

Event = Mapping[str, Any]


class EventRecord(NamedTuple):
    """The events of one record of the outbox.

    Attributes:
        record: id of the record: its time in epoch ms, `-`, and a number.
        events: the events by type.
        alone: whether the record forms a separate message.
    """

    record: str
    events: Mapping[str, Sequence[Event]]
    alone: bool = False

    @property
    def at_ms(self) -> int:
        """Epoch ms of the record."""
        return int(self.record.partition("-")[0])


class Message(NamedTuple):
    """One message to an endpoint.

    Attributes:
        id: the `webhook-id`. It is derived from the first record, so that a repeated message has the same id.
        kind: the event type.
        at_ms: epoch ms of the first event.
        data: the events.
        last: id of the last record whose events it has; "": it was not formed from records.
    """

    id: str
    kind: str
    at_ms: int
    data: Sequence[Event]
    last: str = ""

    def body(self) -> bytes:
        """The JSON text, which is the same at each call."""
        value = {"type": self.kind, "timestamp": instant_text(self.at_ms), "data": list(self.data)}
        return msgspec.json.encode(value)


def messages_of(records: Iterable[EventRecord]) -> list[Message]:
    """Form the messages of the records of one second.

    The events of pings are joined by type, in the order of `PING_EVENTS`: a ping is completed by the last of its
    records, so that this order is also that of each ping's events.

    Args:
        records: all records of that second, in their order. The same records always form the same messages.
    """
    joined: dict[str, list[Message]] = {kind: [] for kind in PING_EVENTS}
    alone: list[Message] = []
    for record in records:
        for kind, events in record.events.items():
            if record.alone:
                alone.append(_message(record, kind, events))
                continue
            made = joined[kind]
            if made and len(made[-1].data) + len(events) <= MESSAGE_EVENTS:
                made[-1] = made[-1]._replace(data=[*made[-1].data, *events], last=record.record)
            else:
                made.append(_message(record, kind, events))
    return [*(message for kind in PING_EVENTS for message in joined[kind]), *alone]


def _message(record: EventRecord, kind: str, events: Sequence[Event]) -> Message:
    # The signed text joins id, time and body by dots, so that the id must not contain one.
    name = f"msg_{record.record}_{kind.replace('.', '-')}"
    return Message(name, kind, record.at_ms, events, record.record)


def trial_message(name: str, unique: str, now_ms: int) -> Message:
    """Return the message that tests the endpoint `name`; `unique` makes its id unique."""
    return Message(f"msg_test_{unique}", TEST, now_ms, [{"endpoint": name}])
