"""Splitting of broadcasts into chunks.

The users of a broadcast are stored beside the queue in chunks. A chunk entry on the stream names exactly one of
these chunks; the worker that reads the entry looks the users up, omits devices that another chunk reaches, and
delivers (`broadcast_targets`). Chunk entries are appended in one step with the cursor, and only a few ahead of the
workers. Therefore a kill repeats at most one chunk rather than the broadcast, and memory use does not depend on
the size of the broadcast.
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.cancelled import CancelledPings
from gateway.errors import UnreadableEntry
from gateway.fanout.background_tasks import BackgroundTasks
from gateway.fanout.broadcast_targets import CHUNK_MISSING
from gateway.fanout.everybody import EverybodySplitter
from gateway.fanout.in_flight import InFlight
from gateway.fanout.settlement import broadcast_without_users, cancelled_broadcast, split_broadcast
from gateway.metrics import Metrics
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.entries import Chunk, Entry, Lease, pings_of, read_broadcast
from gateway.queue.everybody import is_to_everybody
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

AHEAD_CHUNKS: Final = 40
"""Chunks that may wait on their stream before splitting pauses, so that other entries are served in between."""
STEP_CHUNKS: Final = 16
"""Chunks appended in one step."""
SPLITTING_MAX: Final = 8
"""Broadcasts that one worker splits at the same time: a long one must not delay the others, and thousands may be
queued."""
_PAUSE_S: Final = 0.02
_RETRY_S: Final = 1.0
_CHUNKS_FACTOR: Final = 100
"""Most chunks that an entry may name for each chunk of users in Redis. A broadcast of which more than 99 of 100
chunks are missing before the first step was not appended by a gateway."""


class BroadcastSplitter:
    """Splits the broadcasts whose leases this worker holds.

    Args:
        store: stores the cursor and the chunks.
        in_flight: keeps the lease while a broadcast is split.
        everybody: splits the broadcasts to all users.
        cancelled: the cancelled pings of this worker; none by default.
    """

    def __init__(
        self,
        store: BroadcastStore,
        in_flight: InFlight,
        everybody: EverybodySplitter,
        cancelled: CancelledPings | None = None,
    ) -> None:
        self._everybody = everybody
        self._store = store
        self._in_flight = in_flight
        self._cancelled = CancelledPings(Metrics()) if cancelled is None else cancelled

    async def split(self, lease: Lease) -> None:
        """Split one broadcast from its stored cursor to its end.

        Raises:
            StoreDown: Redis did not answer; the broadcast stays leased and resumes at its cursor.
            UnreadableEntry: the entry is not a broadcast, or its number of chunks or its cursor is not valid.
        """
        entry = read_broadcast(lease.payload)
        (ping,) = pings_of(entry, SHARED_CLOCK.corrected(entry.accepted_ms))
        if is_to_everybody(ping):
            await self._everybody.split(lease, ping)
            return
        cursor = await self._store.cursor(lease)
        if cursor > entry.chunk_count:
            raise UnreadableEntry(f"the stored cursor {cursor} exceeds {entry.chunk_count} chunks of users")
        is_new = not cursor and ping.id not in self._cancelled.ids
        if is_new and await self._finish_without_users(lease, entry, ping):
            return
        while cursor < entry.chunk_count:
            if ping.id in self._cancelled.ids:
                await self._leave_out_rest(lease, entry, ping, cursor)
                return
            chunks = [
                Chunk(ping, chunk) for chunk in range(cursor, min(cursor + STEP_CHUNKS, entry.chunk_count))
            ]
            now_ms = SHARED_CLOCK.now_ms()
            waiting = await self._store.split_users(lease, entry.batch_id, cursor, chunks, now_ms)
            if waiting < 0:
                self._in_flight.release(lease)
                return
            cursor += len(chunks)
            while waiting > AHEAD_CHUNKS:
                await asyncio.sleep(_PAUSE_S)
                waiting = await self._store.waiting_chunks()
        self._in_flight.settle(split_broadcast(lease, entry.batch_id, ping, self._in_flight.events))

    async def _leave_out_rest(self, lease: Lease, entry: Entry, ping: Ping, cursor: int) -> None:
        """Settle a cancelled broadcast whose chunks from the cursor on are not on the stream yet."""
        left_out = await self._store.drop_users(ping.id, cursor, entry.chunk_count)
        self._cancelled.count(left_out)
        plan = self._in_flight.events
        self._in_flight.settle(cancelled_broadcast(lease, entry, ping, cursor, left_out, plan))

    async def _finish_without_users(self, lease: Lease, entry: Entry, ping: Ping) -> bool:
        """Settle a broadcast of which Redis has no users left, instead of appending empty chunks."""
        kept = await self._store.chunk_count(ping.id)
        if kept and entry.chunk_count > _CHUNKS_FACTOR * kept:
            raise UnreadableEntry(
                f"the entry names {entry.chunk_count} chunks of users, but Redis has {kept}"
            )
        if kept or not entry.chunk_count:
            return False
        _log.error("broadcast_chunk_missing", ping_id=ping.id, chunk_count=entry.chunk_count)
        skipped = {CHUNK_MISSING: entry.chunk_count}
        plan = self._in_flight.events
        self._in_flight.settle(broadcast_without_users(lease, entry.batch_id, ping, skipped, plan))
        return True


class BroadcastTasks:
    """The broadcasts that are being split, each in its own task, so that a long one does not delay the others."""

    def __init__(self, splitter: BroadcastSplitter, in_flight: InFlight) -> None:
        self._splitter = splitter
        self._in_flight = in_flight
        self._tasks = BackgroundTasks(SPLITTING_MAX)

    async def wait_for_room(self) -> None:
        """Wait until another broadcast may be read: each of them appends chunks to the stream."""
        await self._tasks.wait_for_fewer(SPLITTING_MAX)

    def begin(self, lease: Lease) -> None:
        """Split a broadcast in the background as soon as fewer than `SPLITTING_MAX` others are being split.

        The caller does not wait for the start: the broadcasts that are being split may wait for chunks that the
        caller has yet to take over.

        Args:
            lease: the broadcast's lease, already claimed (`InFlight.claim`).
        """
        self._tasks.begin(partial(self._split, lease), f"split:{lease.entry}")

    async def close(self) -> None:
        """Cancel all splitting; each broadcast resumes at its cursor."""
        await self._tasks.close()

    async def _split(self, lease: Lease) -> None:
        while self._in_flight.holds(lease):
            error = await self._in_flight.attempt(lease, self._splitter.split(lease))
            if error is None:
                return
            _log.warning("broadcast_split_retry", entry=lease.entry, error=error.message)
            await asyncio.sleep(_RETRY_S)
