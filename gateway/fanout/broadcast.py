"""Cutting a ping for many users into pieces.

The users lie beside the queue in chunks. A piece names one chunk, no more: whoever takes it from its stream looks the
users up, leaves out whom another chunk reaches, and delivers (`targets`). Pieces go on the stream in one step with
the cursor, and only a few ahead of those who work on them: a kill costs a piece and not the broadcast, and nothing
here is ever as large as the ping is.
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import UnreadableEntry
from gateway.fanout.background_tasks import BackgroundTasks
from gateway.fanout.broadcast_targets import CHUNK_MISSING
from gateway.fanout.in_flight import InFlight
from gateway.fanout.settlement import broadcast_without_users, split_broadcast
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.entries import Chunk, Entry, Lease, pings_of, read_broadcast
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

AHEAD_CHUNKS: Final = 40
"""Pieces that may wait on their stream before cutting pauses: what comes between is served in between."""
STEP_CHUNKS: Final = 16
"""Pieces cut in one step."""
SPLITTING_MAX: Final = 8
"""Broadcasts that one worker cuts at once: a long one must not keep others back, and thousands may be queued."""
_PAUSE_S: Final = 0.02
_RETRY_S: Final = 1.0
_CHUNKS_FACTOR: Final = 100
"""A broadcast of which more than 99 of 100 chunks are missing before any was cut is none that a gateway appended."""


class BroadcastSplitter:
    """Cuts the broadcasts that this worker holds.

    Args:
        store: cursor and pieces.
        in_flight: keeps the lease while a broadcast is cut.
    """

    def __init__(self, store: BroadcastStore, in_flight: InFlight) -> None:
        self._store = store
        self._in_flight = in_flight

    async def split(self, lease: Lease) -> None:
        """Cut one broadcast to its end, from wherever it stood.

        Raises:
            StoreDown: Redis did not answer; the broadcast stays leased and goes on from its cursor.
            UnreadableEntry: it is none, or its number of chunks is not that of a broadcast.
        """
        entry = read_broadcast(lease.payload)
        (ping,) = pings_of(entry, SHARED_CLOCK.corrected(entry.accepted_ms))
        cursor = await self._store.cursor(lease)
        if not cursor and await self._finish_without_users(lease, entry, ping):
            return
        while cursor < entry.chunk_count:
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
        self._in_flight.settle(split_broadcast(lease, entry.batch_id, ping))

    async def _finish_without_users(self, lease: Lease, entry: Entry, ping: Ping) -> bool:
        """Settle a broadcast of whose users nothing is left, instead of cutting pieces for nobody."""
        kept = await self._store.chunk_count(ping.id)
        if kept and entry.chunk_count > _CHUNKS_FACTOR * kept:
            raise UnreadableEntry(f"it names {entry.chunk_count} chunks of users, and {kept} are kept")
        if kept or not entry.chunk_count:
            return False
        _log.error("broadcast_chunk_missing", ping_id=ping.id, chunk_count=entry.chunk_count)
        skipped = {CHUNK_MISSING: entry.chunk_count}
        self._in_flight.settle(broadcast_without_users(lease, entry.batch_id, ping, skipped))
        return True


class BroadcastTasks:
    """The broadcasts being cut, each by a task of its own, so that a long one does not keep others back."""

    def __init__(self, splitter: BroadcastSplitter, in_flight: InFlight) -> None:
        self._splitter = splitter
        self._in_flight = in_flight
        self._tasks = BackgroundTasks(SPLITTING_MAX)

    async def wait_for_room(self) -> None:
        """Wait until another one may be read: each puts pieces on their stream."""
        await self._tasks.wait_for_fewer(SPLITTING_MAX)

    def begin(self, lease: Lease) -> None:
        """Split a broadcast in the background, when its turn comes.

        The caller does not wait for that turn: the broadcasts that are being split may wait for chunks that the
        caller has yet to take over.

        Args:
            lease: claimed (`InFlight.claim`).
        """
        self._tasks.begin(partial(self._split, lease), f"split:{lease.entry}")

    async def close(self) -> None:
        """Stop where the cursors are."""
        await self._tasks.close()

    async def _split(self, lease: Lease) -> None:
        while self._in_flight.holds(lease):
            error = await self._in_flight.attempt(lease, self._splitter.split(lease))
            if error is None:
                return
            _log.warning("broadcast_split_retry", entry=lease.entry, error=error.message)
            await asyncio.sleep(_RETRY_S)
