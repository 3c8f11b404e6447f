"""The events of webhooks that a settlement causes. This module does no I/O.

Without endpoints no settlement calls it.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.delivery.batch import DeliveryBatch
from gateway.queue.entries import encode
from gateway.queue.outbox import (
    EventPlan,
    FinishedPing,
    OutboxRecord,
    PingTrace,
    RejectedDevice,
    SettledEvents,
    UnfinishedPing,
)
from gateway.queue.receipts import CANCELLED, PingRecord
from gateway.queue.scheduled_batch import was_cancelled
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind

_NONE_SKIPPED: Final[Mapping[str, int]] = MappingProxyType({})


def settled_events(
    batch: DeliveryBatch, records: Sequence[PingRecord], opened: Sequence[int], plan: EventPlan
) -> OutboxRecord | None:
    """Return the events of a finished batch; None: it has none.

    Args:
        batch: the batch.
        records: the record of each ping.
        opened: number of chunks and retries that this settlement opens, less those that it closes, of each ping.
        plan: the events that endpoints receive.
    """
    rejected = tuple(_rejected(batch, plan)) if batch.other_verdicts else ()
    finished: tuple[FinishedPing, ...] = ()
    unfinished: list[UnfinishedPing] = []
    if plan.completed:
        first = batch.first_ping_index
        pings = [_verdicts(first + number, record) for number, record in enumerate(records)]
        whole = batch.lease.stream == keys.PINGS
        if whole:
            finished = tuple(
                [
                    ping
                    for number, ping in enumerate(pings)
                    if not opened[number] and (ping.accepted or not _has_its_event(batch, number, ping))
                ]
            )
        if not whole or any(opened):
            key = keys.receipt(batch.batch_id)
            unfinished = [
                UnfinishedPing(key, ping)
                for ping, more in zip(pings, opened, strict=True)
                if more or not whole
            ]
    if not (finished or rejected or unfinished):
        return None
    body = encode(SettledEvents(batch.batch_id, finished, rejected)) if finished or rejected else b""
    traces = b"" if batch.trace is None else _packed(batch.pings, batch.first_ping_index)
    return OutboxRecord(plan.limit, body, batch.batch_id, unfinished, traces)


def _has_its_event(batch: DeliveryBatch, number: int, ping: FinishedPing) -> bool:
    """Whether the event of a ping was written at its cancellation, before the batch was released."""
    return not (ping.rejected or ping.skipped or ping.cancelled) and was_cancelled(batch.pings[number])


def broadcast_events(
    batch_id: str, ping: Ping, plan: EventPlan, skipped: Mapping[str, int] = _NONE_SKIPPED
) -> OutboxRecord | None:
    """Return the events at the end of a broadcast's splitting; None: there are none.

    Args:
        batch_id: the batch id in the broadcast's ping id.
        ping: the ping of the broadcast.
        plan: the events that endpoints receive.
        skipped: number of users, or of their chunks, that are left out, by reason.
    """
    if not plan.completed:
        return None
    verdicts = _verdicts(0, PingRecord(skipped=dict(skipped)))
    unfinished = (UnfinishedPing(keys.receipt(batch_id), verdicts),)
    return OutboxRecord(plan.limit, b"", batch_id, unfinished, _packed([ping], 0))


def _packed(pings: Sequence[Ping], first: int) -> bytes:
    """The traces of the recorded pings, for the spans of webhooks; b"" if none is recorded."""
    traces = [
        PingTrace(first + number, ping.traceparent)
        for number, ping in enumerate(pings)
        if ping.traceparent is not None
    ]
    return encode(traces) if traces else b""


def _verdicts(index: int, record: PingRecord) -> FinishedPing:
    skipped, cancelled = 0, 0
    if record.skipped:
        cancelled = record.skipped.get(CANCELLED, 0)
        skipped = sum(record.skipped.values()) - cancelled
    if not record.other_verdicts:
        return FinishedPing(index, record.accepted, 0, skipped, cancelled)
    rejected = [one.reason for one in record.other_verdicts if one.kind == VerdictKind.REJECTED]
    left_out = rejected.count(CANCELLED)
    return FinishedPing(index, record.accepted, len(rejected) - left_out, skipped, cancelled + left_out)


def _rejected(batch: DeliveryBatch, plan: EventPlan) -> Iterator[RejectedDevice]:
    if not (plan.rejected or plan.dead):
        return
    for index, (kind, reason) in sorted(batch.other_verdicts.items()):
        dead = index in batch.dead
        if kind == VerdictKind.REJECTED and reason != CANCELLED and (plan.rejected or dead):
            number = batch.first_ping_index + batch.ping_of(index)
            yield RejectedDevice(number, *batch.chosen[index], reason, dead)
