"""Consumer side of the queue: leases entries, saves their verdicts and settles them in one step.

Leases are the pending entries of a Redis consumer group: an entry belongs to the consumer that read it as long as
that consumer renews it, and is taken over after an idle time of `LEASE_S`. A consumer's name survives a restart
(`gateway id:slot`), so a restarted worker finds its own entries immediately (`resume`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from gateway.clock import SHARED_CLOCK, SharedClock
from gateway.errors import BAD_DATA
from gateway.queue import idle_consumers, schedule, scripts, unreadable
from gateway.queue.entries import Chunk, Lease, decoder, encode, leases_of, outline
from gateway.queue.outbox import SETTLE_WITH_EVENTS, OutboxRecord
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, RedisReplyError, Reply
from gateway.store.consumer_groups import ensure_group
from protocols.numbers import stored
from protocols.verdict import VerdictKind

LEASE_S: Final = 20.0
"""Idle time after which an entry is taken over; longer than a provider's deadline (15 s)."""
RENEW_S: Final = 5.0
TAKEN_OVER: Final = -1
SETTLED: Final = 0
_RENEWED_TOGETHER: Final = 500
"""Most leases in one call; Redis serves no other client for about a millisecond."""
FIRST: Final = "0-0"
"""Id before every entry of a stream."""


class BatchProgress(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The verdicts of a batch so far, by the indexes of its plan.

    Attributes:
        plan: client ids, one tuple for each ping, in the order of the indexes.
        accepted: bitmap with one bit for each index.
        other_verdicts: (index, kind, reason) of each other final verdict.
        skipped: number of omitted devices by reason, for each ping.
        dead: indexes of deliveries whose push token the provider reported as dead.
    """

    plan: tuple[tuple[str, ...], ...]
    accepted: bytes
    other_verdicts: tuple[tuple[int, int, str], ...]
    skipped: tuple[dict[str, int], ...] = ()
    dead: tuple[int, ...] = ()

    def fits(self, pings: int) -> bool:
        """Whether this can be the progress of a batch with this number of pings."""
        total = sum(map(len, self.plan))
        return (
            len(self.plan) == pings
            and total <= 8 * len(self.accepted) < total + 8
            and len(self.skipped) in (0, pings)
            and all(0 <= number <= _SKIPPED_MAX for skipped in self.skipped for number in skipped.values())
            and all(0 <= index < total and kind in _KINDS for index, kind, _ in self.other_verdicts)
            and all(0 <= index < total for index in self.dead)
        )

    def ended(self) -> set[int]:
        """The indexes that have a final verdict."""
        accepted = {
            index for index in range(8 * len(self.accepted)) if self.accepted[index >> 3] >> (index & 7) & 1
        }
        return accepted.union(index for index, _, _ in self.other_verdicts)


class ScheduledRetry(NamedTuple):
    """A retry that is scheduled when its batch is settled.

    Attributes:
        due_ms: due time by the process's steady clock (`clock.SharedClock.steady_ms`).
        parked_in: the lane in whose share of the backlog it is counted; "" for a retry that a provider asked for.
    """

    name: str
    due_ms: int
    chunk: Chunk
    parked_in: str = ""


class ReceiptField(NamedTuple):
    """A field of a receipt: a value to set, or a number to add."""

    key: str
    field: str
    value: bytes | int


class PingWaiter(NamedTuple):
    """A request that waits for a ping of this batch.

    Attributes:
        channel: the channel that the request's process subscribes to.
        ping_id: the ping that the request waits for.
        key, field: the receipt field that counts the open chunks and retries of this ping.
        record: the packed record of the ping (`receipts.pack_delta`) if this batch has all of its deliveries:
            published with the id, so that the process need not read the receipt. b"" otherwise.
    """

    channel: str
    ping_id: str
    key: str
    field: str
    record: bytes = b""


class ReachedChunk(NamedTuple):
    """A chunk of a broadcast's users that was reached. After the last chunk all data of the broadcast is deleted.

    Attributes:
        users, chunk_index: hash and field with the users.
        phones: key of the record of reached devices.
    """

    users: str
    chunk_index: int
    phones: str

    @classmethod
    def of(cls, ping_id: str, chunk_index: int) -> "ReachedChunk":
        """The record of a chunk by its index."""
        return cls(keys.broadcast_users(ping_id), chunk_index, keys.broadcast_devices(ping_id))


class Settlement(NamedTuple):
    """Everything that is written when a batch is finished."""

    lease: Lease
    receipts: Sequence[ReceiptField] = ()
    retries: Sequence[ScheduledRetry] = ()
    waiters: Sequence[PingWaiter] = ()
    unparked: Sequence[tuple[str, int]] = ()
    reached_chunks: Sequence[ReachedChunk] = ()
    events: OutboxRecord | None = None


_KINDS: Final = frozenset(map(int, VerdictKind))
_SKIPPED_MAX: Final = 1 << 40
"""Highest number of omitted devices: sums of such numbers can be stored."""
_RECORD_BYTES: Final = 200
"""Bytes of a quarantine record in addition to the entry."""
_log = structlog.get_logger("queue_streams")
_GROUP_LOST: Final = ("NOGROUP", "UNBLOCKED")
"""Errors of a read whose stream or consumer group does not exist. Redis up to 7.0 sends UNBLOCKED to a read that waits
while the stream is deleted; later versions and Valkey send NOGROUP."""
_decode_progress: Final = decoder(BatchProgress)


class Streams:
    """Reads, renews and settles entries for one consumer.

    Args:
        connection: connection for all commands that do not block.
        name: name of the consumer, the same after a restart.
        receipt_s: lifetime of receipts.
        clock: gets each reading of Redis' clock.
        on_queue_lost: called when this consumer found that Redis had lost the queue, and created it again.
    """

    def __init__(
        self,
        connection: RedisConnection,
        name: str,
        receipt_s: int,
        clock: SharedClock = SHARED_CLOCK,
        on_queue_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self.name = name
        self._receipt_s = receipt_s
        self._clock = clock
        self._on_queue_lost = on_queue_lost
        self._prepared = False
        self._read: Final[tuple[Argument, ...]] = ("XREADGROUP", "GROUP", keys.GROUP, name, "COUNT")

    @property
    def reachable_s(self) -> float:
        """Seconds since Redis was last unavailable or its clock was set; inf if never."""
        return min(self._connection.up_s, self._clock.stable_s)

    async def prepare(self) -> None:
        """Create the missing consumer groups of a new Redis, or of one that lost its data.

        A group that is missing although this consumer used it before was lost with the entries of its stream: Redis
        restarted without its data, an operator deleted them (FLUSHALL, RhoConnect's reset), or Redis evicted them.
        One of the consumers on this Redis reports the loss of each stream.
        """
        missing = [
            stream for stream in keys.STREAMS if await ensure_group(self._connection, stream, keys.GROUP)
        ]
        if missing and self._prepared:
            _log.error("queue_lost", streams=missing)
            self._on_queue_lost()
        self._prepared = True

    async def read(
        self, reader: RedisConnection, streams: Sequence[str], count: int, block_ms: int
    ) -> list[Lease]:
        """Wait for new entries.

        Args:
            reader: a separate connection, since the command blocks it.
            count: most entries of each stream.
        """
        words: list[Argument] = [*self._read, count, "BLOCK", block_ms, "STREAMS", *streams]
        try:
            reply = await reader.call(*words, *(">" for _ in streams))
        except RedisReplyError as error:
            if not error.words.startswith(_GROUP_LOST):
                raise
            await self.prepare()
            return []
        return [
            lease
            for stream, entries in reply or ()
            for lease in leases_of(stream.decode(), entries, redelivered=False)
        ]

    async def resume(self, stream: str, after: str = "0") -> list[Lease]:
        """Entries that this consumer already held when it ended, after id `after`, at most a hundred; an empty
        list: no more."""
        while True:
            reply = await self._connection.call(*self._read, 100, "STREAMS", stream, after)
            entries = reply[0][1] if reply else ()
            leases = leases_of(stream, entries, redelivered=True)
            if leases or not entries:
                return leases
            # all of these were deleted; later entries may still be held
            after = entries[-1][0].decode()

    async def take_over(self, stream: str, start: str, count: int) -> tuple[list[Lease], str]:
        """Take over entries whose consumer did not renew them for `LEASE_S`.

        Args:
            start: id from which to search; `FIRST` for the oldest.
            count: most entries to take over.

        Returns:
            The entries, possibly none although there are more, and the id to continue from; `FIRST` if the search
            is complete.
        """
        idle_ms = int(LEASE_S * 1000)
        reply = await self._connection.call(
            "XAUTOCLAIM", stream, keys.GROUP, self.name, idle_ms, start, "COUNT", count
        )
        return leases_of(stream, reply[1], redelivered=True), reply[0].decode()

    async def fix_future_leases(self, stream: str) -> None:
        """Let leases with a renewal time in the future, after Redis' clock was set back, expire like all others."""
        start = "-"
        while start:
            reply = await self._connection.eval(
                scripts.FIX_FUTURE_LEASES, [stream], [keys.GROUP, start, _RENEWED_TOGETHER]
            )
            start = reply.decode()

    async def renew_leases(self, stream: str, entries: Sequence[str]) -> list[str]:
        """Renew the leases of these entries.

        Returns:
            Entries that another consumer took over after the idle time, and entries that are settled.
        """
        lost: list[bytes] = []
        for first in range(0, len(entries), _RENEWED_TOGETHER):
            part = entries[first : first + _RENEWED_TOGETHER]
            lost += await self._connection.eval(scripts.RENEW, [stream], [keys.GROUP, self.name, *part])
        return [entry.decode() for entry in lost]

    async def release_leases(self) -> None:
        """Release the leases of this consumer for any consumer, itself included after a restart."""
        for stream in keys.STREAMS:
            await self._connection.eval(
                scripts.RELEASE, [stream], [keys.GROUP, self.name, int(LEASE_S * 1000)]
            )

    async def progress(self, lease: Lease) -> BatchProgress | None:
        """The verdicts that an entry had when its last consumer ended; None if there are none or they cannot be
        read.

        Raises:
            StoreDown: Redis did not answer.
        """
        try:
            value = await self._connection.call("HGET", keys.progress(lease.stream, lease.entry), "verdicts")
            return _decode_progress(value) if value is not None else None
        except RedisReplyError as error:
            if not error.of_data:
                raise
            unreadable: str = error.message
        except BAD_DATA as error:
            unreadable = str(error)
        # Some deliveries are repeated; the entry must not wait for verdicts that cannot be read.
        _log.error("progress_unreadable", stream=lease.stream, entry=lease.entry, error=unreadable)
        return None

    def save(self, lease: Lease, progress: BatchProgress) -> asyncio.Future[int]:
        """Save the verdicts so far: after a kill, these deliveries are not repeated.

        Returns:
            1; `SETTLED` if the entry is settled; `TAKEN_OVER` if another consumer has it now.
        """
        return self._connection.eval(
            scripts.SAVE,
            [lease.stream, keys.progress(lease.stream, lease.entry)],
            [keys.GROUP, self.name, lease.entry, keys.BROADCAST_S, encode(progress)],
        )

    def settle(self, settlement: Settlement, steady_ms: int, on_reply: Callable[[Reply], None]) -> None:
        """Remove a finished batch from its stream. May be repeated after a lost reply.

        Args:
            steady_ms: the present time by the clock of `ScheduledRetry.due_ms`.
            on_reply: gets 1; 0 if another consumer settled the entry before; or the `StoreDown`.
        """
        lease = settlement.lease
        words: list[Argument] = [keys.GROUP, lease.entry, steady_ms, self._receipt_s + keys.RECEIPT_SLACK_S]
        words += [lease.pings, lease.size, len(settlement.receipts)]
        for key, field, value in settlement.receipts:
            words += [key, field, value, int(isinstance(value, int))]
        words.append(len(settlement.retries))
        for retry in settlement.retries:
            words += [
                retry.name,
                retry.due_ms,
                encode(retry.chunk),
                retry.parked_in,
                len(retry.chunk.clients),
            ]
        words.append(len(settlement.waiters))
        for waiter in settlement.waiters:
            words += waiter
        words.append(len(settlement.unparked))
        for lane, deliveries in settlement.unparked:
            words += [lane, deliveries]
        words.append(len(settlement.reached_chunks))
        for reached in settlement.reached_chunks:
            words += reached
        names = [lease.stream, keys.STATS, keys.progress(lease.stream, lease.entry)]
        names += [keys.SCHEDULE, keys.SCHEDULE_BODIES, keys.RECEIPTS, keys.PARKED]
        if settlement.events is None:
            self._connection.eval_then(scripts.SETTLE, names, words, on_reply)
            return
        names += [keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
        words += settlement.events.arguments()
        self._connection.eval_then(SETTLE_WITH_EVENTS, names, words, on_reply)

    async def quarantine(self, lease: Lease, reason: str, now_ms: int) -> bool:
        """Remove an entry that cannot be delivered from its stream, and store a record of it (`keys.UNREADABLE`).

        Its pings get the verdict `unreadable`, as far as their ids can be read. May be repeated after a lost
        reply.

        Args:
            reason: the reason, for an operator.
            now_ms: epoch ms.

        Returns:
            False if the entry was no longer in its stream.

        Raises:
            StoreDown: the entry may be in quarantine already.
        """
        found = await self._connection.call("XRANGE", lease.stream, lease.entry, lease.entry)
        fields: list[bytes] = found[0][1] if found else []
        record: list[Argument] = [
            "stream",
            lease.stream,
            "entry",
            lease.entry,
            "reason",
            reason,
            "at_ms",
            now_ms,
        ]
        size = sum(map(len, fields))
        if size <= keys.UNREADABLE_ENTRY_BYTES:
            record += ["fields", encode(fields)]
        else:
            size = 0
        readable = outline(lease.stream, lease.payload)
        names = [lease.stream, keys.STATS, keys.progress(lease.stream, lease.entry), keys.UNREADABLE]
        names += [keys.receipt(readable.batch_id if readable else ""), keys.RECEIPTS]
        words: list[Argument] = [keys.GROUP, lease.entry, lease.pings, lease.size]
        words += [keys.UNREADABLE_MAX, keys.UNREADABLE_BYTES, size + _RECORD_BYTES]
        words += [
            self._receipt_s + keys.RECEIPT_SLACK_S,
            now_ms,
            *unreadable.verdict_arguments(lease, readable),
            *record,
        ]
        return bool(await self._connection.eval(unreadable.QUARANTINE, names, words))

    # -- maintenance -----------------------------------------------------------------------------------------

    async def read_clock(self) -> None:
        """Read Redis' clock into the shared clock."""
        sent_ms = self._clock.steady_ms()
        seconds, micros = await self._connection.call("TIME")
        self._clock.record_reading(sent_ms, int(seconds) * 1000 + int(micros) // 1000)

    async def release_due(self, most: int) -> int:
        """Move due retries to their stream until it holds `most`; returns their number.

        The reply is also a reading of Redis' clock.
        """
        names = [keys.SCHEDULE, keys.SCHEDULE_BODIES, keys.RETRIES, keys.STATS]
        sent_ms = self._clock.steady_ms()
        words: list[Argument] = [most, self._clock.now_ms(), keys.CLOCK_DRIFT_MS]
        moved, now_ms = await self._connection.eval(scripts.RELEASE_DUE, names, words)
        self._clock.record_reading(sent_ms, now_ms)
        return int(moved)

    async def release_scheduled(self) -> int:
        """Move scheduled pings that are due to the queue, as far as its length permits, and return their number."""
        return await schedule.release(self._connection)

    async def scheduled(self) -> schedule.ScheduleDepth:
        """The pings that wait for their `deliver_at`, and their size."""
        return await schedule.depth(self._connection)

    async def remove_idle_consumers(self) -> None:
        """Remove the consumer names of gateways that do not return."""
        for name in await idle_consumers.remove_idle_consumers(self._connection):
            _log.info("idle_consumer_removed", consumer=name)

    async def trim_receipts(self, age_ms: int, most_bytes: int) -> int:
        """Delete receipts older than `age_ms`, and the oldest beyond `most_bytes`; returns their number."""
        words: list[Argument] = [age_ms, most_bytes, 500, keys.CLOCK_DRIFT_MS]
        return int(await self._connection.eval(scripts.TRIM, [keys.RECEIPTS, keys.STATS], words))

    async def parked(self) -> dict[str, int]:
        """Number of parked deliveries of each lane."""
        flat = await self._connection.call("HGETALL", keys.PARKED)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {lane.decode("utf-8", "replace"): stored(deliveries) for lane, deliveries in pairs}

    async def backlog(self) -> tuple[int, int]:
        """Number of pings that are accepted and not settled, and the epoch ms of the oldest entry (0: none)."""
        count, oldest = await self._connection.call("HGET", keys.STATS, "pings"), 0
        for stream in (keys.PINGS, keys.BROADCASTS):
            first = await self._connection.call("XRANGE", stream, "-", "+", "COUNT", 1)
            if first:
                at = stored(first[0][0].partition(b"-")[0])
                oldest = min(oldest or at, at)
        return max(stored(count), 0), oldest
