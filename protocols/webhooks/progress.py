"""The progress of an endpoint within the records of one second: its messages that are still to be delivered.

Messages are formed from the records that exist. If the outbox loses some of them while a second is partly delivered,
or receives further ones for it (Redis' clock was set back), the same rule forms other messages with other ids. The
progress therefore keeps the limits of the messages that were already attempted.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from protocols.numbers import UINT64_MAX, whole
from protocols.webhooks.events import PING_EVENTS, EventRecord, Message, messages_of

_ALONE: Final = len(PING_EVENTS)
"""Rank of the events that have messages of their own: they follow those of pings."""


class DeliveryProgress(NamedTuple):
    """How far the records of one second are delivered.

    Attributes:
        until: id of the last record of the second when its delivery began; "": it has not begun.
        sent: id of the last delivered message.
        sent_until: id of the last record in that message.
        tried: id of the message that was attempted last and is not delivered.
        tried_until: id of the last record in that message.
    """

    until: str = ""
    sent: str = ""
    sent_until: str = ""
    tried: str = ""
    tried_until: str = ""


def position(record: str) -> tuple[int, int]:
    """Return the id of a record in a form that compares like the record; a damaged id precedes all others."""
    at, _, number = record.partition("-")
    return whole(at) or 0, whole(number, highest=UINT64_MAX) or 0


def remaining(records: Sequence[EventRecord], progress: DeliveryProgress) -> list[Message]:
    """Return the messages of a second that are still to be delivered, in their order.

    A message that was attempted before keeps its id and its last record, also if its first records are lost.

    Args:
        records: the records of the second, in their order.
        progress: the progress in this second.
    """
    left = [_undelivered(record, progress) for record in records] if progress.sent_until else [*records]
    if not progress.tried_until:
        return messages_of(left)
    tried, others = _divided(left, progress)
    return [
        *(message._replace(id=progress.tried) for message in messages_of(tried)[:1]),
        *messages_of(others),
    ]


def _undelivered(record: EventRecord, progress: DeliveryProgress) -> EventRecord:
    sent = _rank_of(progress.sent)
    is_through = position(record.record) <= position(progress.sent_until)
    events = {
        kind: found
        for kind, found in record.events.items()
        if (rank := _rank(kind)) > sent or (rank == sent and not is_through)
    }
    return record._replace(events=events)


def _divided(
    records: Sequence[EventRecord], progress: DeliveryProgress
) -> tuple[list[EventRecord], list[EventRecord]]:
    """Divide records into those of the message that was attempted last, and all others."""
    rank, last = _rank_of(progress.tried), position(progress.tried_until)
    tried: list[EventRecord] = []
    others: list[EventRecord] = []
    for record in records:
        is_in = position(record.record) <= last
        own = {kind: found for kind, found in record.events.items() if is_in and _rank(kind) == rank}
        tried.append(record._replace(events=own))
        left = {kind: found for kind, found in record.events.items() if kind not in own}
        others.append(record._replace(events=left))
    return tried, others


def _rank(kind: str) -> int:
    return PING_EVENTS.index(kind) if kind in PING_EVENTS else _ALONE


def _rank_of(message_id: str) -> int:
    """Return the rank of the event type in the id of a message."""
    kinds = {f"_{kind.replace('.', '-')}": rank for rank, kind in enumerate(PING_EVENTS)}
    return next((rank for end, rank in kinds.items() if message_id.endswith(end)), _ALONE)
