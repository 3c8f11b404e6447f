"""Cutting a ping for many users into pieces.

The users lie beside the queue in chunks. A piece names one chunk, no more: whoever takes it from its stream looks the
users up, leaves out whom another chunk reaches, and delivers (`targets`). Pieces go on the stream in one step with
the cursor, and only a few ahead of those who work on them: a kill costs a piece and not the broadcast, and nothing
here is ever as large as the ping is.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import BAD_DATA, StoreDown, UnreadableEntry
from gateway.fanout.broadcast_targets import CHUNK_MISSING
from gateway.fanout.in_flight import InFlight
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import PingWaiter, ReceiptField, Settlement
from gateway.queue.entries import Chunk, Entry, Lease, read_broadcast
from gateway.queue.receipts import PingRecord, field_of, pack_delta
from gateway.store import keys
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

AHEAD_CHUNKS: Final = 40
"""Pieces that may wait on their stream before cutting pauses: what comes between is served in between."""
STEP_CHUNKS: Final = 16
"""Pieces cut in one step."""
SPLITTING_MAX: Final = 8
"""Broadcasts that one worker cuts at once: a long one must not keep others back, and thousands may be queued."""
_PAUSE_S: Final = 0.02
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
        ping = _of_batch(entry.pings[0], entry.batch_id, SHARED_CLOCK.corrected(entry.accepted_ms))
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
        self._in_flight.settle(_finished(lease, entry.batch_id, ping))

    async def _finish_without_users(self, lease: Lease, entry: Entry, ping: Ping) -> bool:
        """Settle a broadcast of whose users nothing is left, instead of cutting pieces for nobody."""
        kept = await self._store.chunk_count(ping.id)
        if kept and entry.chunk_count > _CHUNKS_FACTOR * kept:
            raise UnreadableEntry(f"it names {entry.chunk_count} chunks of users, and {kept} are kept")
        if kept or not entry.chunk_count:
            return False
        _log.error("broadcast_chunk_missing", ping_id=ping.id, chunk_count=entry.chunk_count)
        key = keys.receipt(entry.batch_id)
        record = pack_delta(PingRecord(skipped={CHUNK_MISSING: entry.chunk_count}))
        field = ReceiptField(key, field_of(0, keys.CHUNKS, lease.entry), record)
        waiting = [PingWaiter(ping.reply_to, ping.id, key, "0:open")] if ping.reply_to else []
        self._in_flight.settle(Settlement(lease, [field], (), waiting))
        return True


class BroadcastTasks:
    """The broadcasts being cut, each by a task of its own, so that a long one does not keep others back."""

    def __init__(self, splitter: BroadcastSplitter, in_flight: InFlight) -> None:
        self._splitter = splitter
        self._in_flight = in_flight
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler = asyncio.Semaphore(SPLITTING_MAX)

    async def wait_for_room(self) -> None:
        """Wait until another one may be read: each puts pieces on their stream."""
        while len(self._tasks) >= SPLITTING_MAX:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def begin(self, lease: Lease) -> None:
        """Cut a broadcast in the background, when its turn comes.

        Whoever takes broadcasts over must not wait for that turn: those that are being cut may wait for pieces
        that are still to be taken over.
        """
        if not self._in_flight.claim([lease]):
            return
        task = asyncio.create_task(self._run(lease), name=f"cut:{lease.entry}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop where the cursors are."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, lease: Lease) -> None:
        async with self._scheduler:
            while self._in_flight.holds(lease):
                if await self._split(lease):
                    return
                await asyncio.sleep(1.0)

    async def _split(self, lease: Lease) -> bool:
        """Whether it is over: cut to its end, or put aside. Else Redis did not answer."""
        try:
            await self._splitter.split(lease)
        except StoreDown as error:
            if not error.of_data:
                _log.warning("broadcast_split_retry", entry=lease.entry, error=error.message)
                return False
            await self._in_flight.quarantine(lease, error)
        except BAD_DATA as error:
            await self._in_flight.quarantine(lease, error)
        return True


def _of_batch(ping: Ping, batch_id: str, accepted_ms: int) -> Ping:
    return msgspec.structs.replace(ping, id=f"{batch_id}0000", accepted_ms=accepted_ms)


def _finished(lease: Lease, batch_id: str, ping: Ping) -> Settlement:
    """The broadcast is cut to its end: its own share of `open` goes."""
    key = keys.receipt(batch_id)
    waiting = [PingWaiter(ping.reply_to, ping.id, key, "0:open")] if ping.reply_to else []
    return Settlement(lease, [ReceiptField(key, "0:open", -1)], (), waiting)
