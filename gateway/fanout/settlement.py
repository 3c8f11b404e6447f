"""Settlements: the receipts, retries and notifications that Redis stores when a worker has finished an entry.

A batch is settled once every delivery has a verdict, a broadcast once its last chunk is on the stream of chunks.
No other module makes a `Settlement`. This module does no I/O: `gateway.queue.consumer.Streams` writes the
settlement in one step.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import ACCEPTED, DeliveryBatch
from gateway.fanout.settled_events import broadcast_events, settled_events
from gateway.queue.consumer import PingWaiter, ReachedChunk, ReceiptField, ScheduledRetry, Settlement
from gateway.queue.entries import Chunk, Entry, Lease
from gateway.queue.everybody import SCAN_CHUNK
from gateway.queue.outbox import EventPlan, OutboxRecord
from gateway.queue.receipts import (
    CANCELLED,
    DeviceVerdict,
    PingRecord,
    field_of,
    field_of_broadcast,
    pack_base,
    pack_delta,
)
from gateway.store import keys
from protocols.ping.model import Ping

NO_EVENTS: Final = EventPlan()
"""The plan without endpoints of webhooks."""
_LISTED_MAX: Final = 200
"""Most accepted devices that a receipt lists one by one; for more only the number is stored."""


def build_settlement(batch: DeliveryBatch, plan: EventPlan = NO_EVENTS) -> Settlement:
    """Build the settlement of a finished delivery batch.

    Args:
        batch: the batch.
        plan: the events that the endpoints of webhooks receive.
    """
    key = keys.receipt(batch.batch_id)
    whole = batch.lease.stream == keys.PINGS
    records = _with_apps(batch, _records(batch))
    retries = list(_retries(batch)) if batch.postponed else []
    opened = [0] * len(records)
    for retry in retries:
        opened[int(retry.chunk.ping.id[28:], 16) - batch.first_ping_index] += 1
    for number in batch.split:
        opened[number] -= 1
    receipts = []
    if whole:
        receipts.append(ReceiptField(key, "base", pack_base(records)))
    else:
        receipts.append(
            ReceiptField(
                key,
                field_of(batch.first_ping_index, batch.lease.stream, batch.lease.entry),
                pack_delta(records[0]),
            )
        )
        opened[0] -= 1
    receipts += [
        ReceiptField(key, f"{batch.first_ping_index + number}:open", change)
        for number, change in enumerate(opened)
        if change
    ]
    waiters = [
        PingWaiter(
            ping.reply_to,
            ping.id,
            key,
            f"{batch.first_ping_index + number}:open",
            pack_delta(records[number]) if whole and not opened[number] else b"",
        )
        for number, ping in enumerate(batch.pings)
        if ping.reply_to
    ]
    unparked = [(batch.lane, len(batch.states))] if batch.lane else []
    reached_chunks = [ReachedChunk.of(batch.pings[0].id, batch.chunk_index)] if batch.chunk_index >= 0 else []
    # Of a ping that was split, the record of reached devices is not needed any longer.
    reached_chunks += [ReachedChunk.of(batch.pings[number].id, 0) for number in batch.split]
    events = settled_events(batch, records, opened, plan) if plan.wanted else None
    return Settlement(batch.lease, receipts, retries, waiters, unparked, reached_chunks, events)


def split_broadcast(lease: Lease, batch_id: str, ping: Ping, plan: EventPlan = NO_EVENTS) -> Settlement:
    """The settlement of a broadcast whose chunks are all on their stream.

    The count of chunks that are still to come held one more, for the splitting itself (`scripts.SPLIT_USERS`).
    """
    field = ReceiptField(keys.receipt(batch_id), "0:open", -1)
    settlement = _of_broadcast(lease, field, ping, broadcast_events(batch_id, ping, plan))
    return settlement._replace(receipts=[field, *_limit_of_broadcast(lease, field.key, ping)])


def broadcast_without_users(
    lease: Lease, batch_id: str, ping: Ping, skipped: dict[str, int], plan: EventPlan = NO_EVENTS
) -> Settlement:
    """The settlement of a broadcast of which Redis has no users left; its receipt consists of `skipped`."""
    record = pack_delta(PingRecord(skipped=skipped, apps=ping.apps))
    field = ReceiptField(keys.receipt(batch_id), _verdicts_of_broadcast(lease), record)
    return _of_broadcast(lease, field, ping, broadcast_events(batch_id, ping, plan, skipped))


def cancelled_broadcast(
    lease: Lease, entry: Entry, ping: Ping, cursor: int, left_out: int, plan: EventPlan = NO_EVENTS
) -> Settlement:
    """The settlement of a broadcast that was cancelled before all of its chunks were on their stream.

    Args:
        lease: its lease.
        entry: its entry.
        ping: its ping.
        cursor: index of the first chunk that is not on the stream.
        left_out: number of users of this chunk and those after it.
        plan: the events that the endpoints of webhooks receive.
    """
    key, skipped = keys.receipt(entry.batch_id), {CANCELLED: left_out}
    record = pack_delta(PingRecord(skipped=skipped, apps=ping.apps))
    # The number of open chunks is written in any case: it shows that the ping is finished.
    settlement = _of_broadcast(
        lease,
        ReceiptField(key, "0:open", -1 if cursor else 0),
        ping,
        broadcast_events(entry.batch_id, ping, plan, skipped),
    )
    return settlement._replace(
        receipts=[*settlement.receipts, ReceiptField(key, _verdicts_of_broadcast(lease), record)],
        reached_chunks=[ReachedChunk.of(ping.id, entry.chunk_count - 1)],
    )


def scanned_broadcast(
    lease: Lease, ping: Ping, skipped: dict[str, int], plan: EventPlan = NO_EVENTS, *, begun: bool = True
) -> Settlement:
    """The settlement of a broadcast to all users whose scan has ended.

    Args:
        lease: its lease.
        ping: its ping.
        skipped: number of omitted users by reason, for its receipt.
        plan: the events that the endpoints of webhooks receive.
        begun: whether a step of the scan was stored.
    """
    # The number of open chunks is written in any case: it shows that the ping is finished.
    field = ReceiptField(keys.receipt(ping.id[:28]), "0:open", -1 if begun else 0)
    settlement = _of_broadcast(lease, field, ping, broadcast_events(ping.id[:28], ping, plan, skipped))
    receipts = [*settlement.receipts, *_limit_of_broadcast(lease, field.key, ping)]
    if skipped:
        name = _verdicts_of_broadcast(lease)
        receipts.append(
            ReceiptField(receipts[0].key, name, pack_delta(PingRecord(skipped=skipped, apps=ping.apps)))
        )
    reached = ReachedChunk.of(ping.id, SCAN_CHUNK)
    return settlement._replace(receipts=receipts, reached_chunks=[reached])


def _limit_of_broadcast(lease: Lease, key: str, ping: Ping) -> list[ReceiptField]:
    """The limit of a broadcast to apps, which decides who may read and cancel it: from the settlement of its entry on,
    only the receipt has the limit, possibly before the first chunk is settled."""
    if ping.apps is None:
        return []
    return [ReceiptField(key, field_of_broadcast(lease.entry, 0), pack_delta(PingRecord(apps=ping.apps)))]


def _verdicts_of_broadcast(lease: Lease) -> str:
    """The field name of the users that a broadcast itself leaves out."""
    return field_of_broadcast(lease.entry, 1)


def _of_broadcast(
    lease: Lease, field: ReceiptField, ping: Ping, events: OutboxRecord | None = None
) -> Settlement:
    waiters = [PingWaiter(ping.reply_to, ping.id, field.key, "0:open")] if ping.reply_to else []
    return Settlement(lease, [field], (), waiters, events=events)


def split_waiters(settlement: Settlement, channel: str) -> tuple[list[PingWaiter], Settlement]:
    """Separate the waiters on this channel whose complete outcome the settlement has from the settlement of the
    others."""
    here: list[PingWaiter] = []
    elsewhere: list[PingWaiter] = []
    for waiter in settlement.waiters:
        (here if waiter.channel == channel and waiter.record else elsewhere).append(waiter)
    return here, settlement._replace(waiters=elsewhere)


def without_own_keys(settlement: Settlement) -> Settlement | None:
    """The settlement without the keys that belong to this entry's pings alone; None if it has no such keys."""
    if not (settlement.receipts or settlement.waiters or settlement.reached_chunks):
        return None
    events = None if settlement.events is None else settlement.events._replace(unfinished=())
    return settlement._replace(receipts=(), waiters=(), reached_chunks=(), events=events)


def _records(batch: DeliveryBatch) -> list[PingRecord]:
    """The record of each ping of the batch."""
    if batch.lease.stream == keys.CHUNKS:
        return [
            PingRecord(
                batch.states.count(ACCEPTED), (), _details(batch, 0, len(batch.states)), batch.skipped[0]
            )
        ]
    if batch.other_verdicts:
        return [
            _record_of(batch, *span, skipped)
            for span, skipped in zip(batch.spans(), batch.skipped, strict=True)
        ]
    # The hot path: every delivery was accepted.
    chosen, most = batch.chosen, _listed(batch)
    return [
        PingRecord(last - first, tuple(chosen[first : min(last, first + most)]), (), skipped)
        for (first, last), skipped in zip(batch.spans(), batch.skipped, strict=True)
    ]


def _with_apps(batch: DeliveryBatch, records: list[PingRecord]) -> list[PingRecord]:
    """Add the limits of pings to apps, which decide who may read their receipts."""
    for number, ping in enumerate(batch.pings):
        if ping.apps is not None:
            records[number] = msgspec.structs.replace(records[number], apps=ping.apps)
    return records


def _record_of(batch: DeliveryBatch, first: int, last: int, skipped: dict[str, int]) -> PingRecord:
    accepted = [batch.chosen[index] for index in range(first, last) if batch.states[index] == ACCEPTED]
    return PingRecord(len(accepted), tuple(accepted[: _listed(batch)]), _details(batch, first, last), skipped)


def _details(batch: DeliveryBatch, first: int, last: int) -> tuple[DeviceVerdict, ...]:
    """The verdicts other than plain acceptance in this range of indexes."""
    verdicts = batch.other_verdicts
    if not verdicts:
        return ()
    return tuple(
        DeviceVerdict(*batch.chosen[index], *verdicts[index])
        for index in range(first, last)
        if index in verdicts
    )


def _listed(batch: DeliveryBatch) -> int:
    """Most accepted devices that are listed. A retry lists all, since each was reported as `later` before."""
    return len(batch.states) if batch.lease.stream == keys.RETRIES else _LISTED_MAX


def _retries(batch: DeliveryBatch) -> Iterator[ScheduledRetry]:
    """Group the postponed deliveries: one retry for each ping, delay and lane."""
    groups: defaultdict[tuple[int, int, int, str], list[int]] = defaultdict(list)
    for index, later in batch.postponed.items():
        # Rounded up to seconds, so that a broadcast's refused deliveries become few retries, none of them early.
        groups[batch.ping_of(index), -(-later.due_ms // 1000), later.attempt, later.parked_in].append(index)
    now_ms = SHARED_CLOCK.now_ms()
    for order, ((number, due_s, attempt, lane), indexes) in enumerate(groups.items()):
        ping: Ping = batch.pings[number]
        clients = tuple(batch.chosen[index][0] for index in indexes)
        if ping.to is not None:
            ping = msgspec.structs.replace(ping, to=ping.to.of_clients(clients))
        # A delivery that was only parked has not been attempted.
        first_ms = SHARED_CLOCK.corrected(batch.first_ms) or (0 if lane else now_ms)
        chunk = Chunk(ping, -1, clients, attempt, first_ms, lane, batch.bulk)
        name = f"{batch.lease.stream.rpartition(':')[2]}:{batch.lease.entry}.{order}"
        yield ScheduledRetry(name, due_s * 1000, chunk, lane)
