"""Cutting a ping for many users into pieces.

The users lie beside the queue in chunks. A piece names one chunk, no more: whoever takes it from its stream looks the
users up, leaves out whom another chunk reaches, and delivers (`audience`). Pieces go on the stream in one step with
the cursor, and only a few ahead of those who work on them: a kill costs a piece and not the broadcast, and nothing
here is ever as large as the ping is.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from gateway.clock import SHARED
from gateway.errors import BAD_DATA, StoreDown, UnreadableEntry
from gateway.fanout.broadcast_targets import LOST_PART
from gateway.fanout.in_flight import Ledger
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import ReceiptField, Settlement, Waiting
from gateway.queue.entries import Entry, Lease, Piece, read_broadcast
from gateway.queue.receipts import Record, field_of, pack_delta
from gateway.store import keys
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

AHEAD_PIECES: Final = 40
"""Pieces that may wait on their stream before cutting pauses: what comes between is served in between."""
CUT_PIECES: Final = 16
"""Pieces cut in one step."""
CUTTING_MAX: Final = 8
"""Broadcasts that one worker cuts at once: a long one must not keep others back, and thousands may be queued."""
_PAUSE_S: Final = 0.02
_CHUNKS_FACTOR: Final = 100
"""A broadcast of which more than 99 of 100 chunks are missing before any was cut is none that a gateway appended."""


class Cutter:
    """Cuts the broadcasts that this worker holds.

    Args:
        store: cursor and pieces.
        ledger: keeps the lease while a broadcast is cut.
    """

    def __init__(self, store: BroadcastStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger

    async def cut(self, lease: Lease) -> None:
        """Cut one broadcast to its end, from wherever it stood.

        Raises:
            StoreDown: Redis did not answer; the broadcast stays leased and goes on from its cursor.
            UnreadableEntry: it is none, or its number of chunks is not that of a broadcast.
        """
        entry = read_broadcast(lease.payload)
        ping = _of_batch(entry.pings[0], entry.batch, SHARED.corrected(entry.accepted_ms))
        cursor = await self._store.cursor(lease)
        if not cursor and await self._lost(lease, entry, ping):
            return
        while cursor < entry.chunks:
            pieces = [Piece(ping, chunk) for chunk in range(cursor, min(cursor + CUT_PIECES, entry.chunks))]
            now_ms = SHARED.now_ms()
            waiting = await self._store.cut(lease, entry.batch, cursor, pieces, now_ms)
            if waiting < 0:
                self._ledger.let_go(lease)
                return
            cursor += len(pieces)
            while waiting > AHEAD_PIECES:
                await asyncio.sleep(_PAUSE_S)
                waiting = await self._store.waiting_pieces()
        self._ledger.settle(_finished(lease, entry.batch, ping))

    async def _lost(self, lease: Lease, entry: Entry, ping: Ping) -> bool:
        """Settle a broadcast of whose users nothing is left, instead of cutting pieces for nobody."""
        kept = await self._store.chunks(ping.id)
        if kept and entry.chunks > _CHUNKS_FACTOR * kept:
            raise UnreadableEntry(f"it names {entry.chunks} chunks of users, and {kept} are kept")
        if kept or not entry.chunks:
            return False
        _log.error("users_lost", ping_id=ping.id, chunks=entry.chunks)
        key = keys.receipt(entry.batch)
        record = pack_delta(Record(skipped={LOST_PART: entry.chunks}))
        field = ReceiptField(key, field_of(0, keys.PIECES, lease.entry), record)
        waiting = [Waiting(ping.reply_to, ping.id, key, "0:open")] if ping.reply_to else []
        self._ledger.settle(Settlement(lease, [field], (), waiting))
        return True


class Cutting:
    """The broadcasts being cut, each by a task of its own, so that a long one does not keep others back."""

    def __init__(self, cutter: Cutter, ledger: Ledger) -> None:
        self._cutter = cutter
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(CUTTING_MAX)

    async def room(self) -> None:
        """Wait until another one may be read: each puts pieces on their stream."""
        while len(self._tasks) >= CUTTING_MAX:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def begin(self, lease: Lease) -> None:
        """Cut a broadcast in the background, when its turn comes.

        Whoever takes broadcasts over must not wait for that turn: those that are being cut may wait for pieces
        that are still to be taken over.
        """
        if not self._ledger.claim([lease]):
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
        async with self._turns:
            while self._ledger.holds(lease):
                if await self._cut(lease):
                    return
                await asyncio.sleep(1.0)

    async def _cut(self, lease: Lease) -> bool:
        """Whether it is over: cut to its end, or put aside. Else Redis did not answer."""
        try:
            await self._cutter.cut(lease)
        except StoreDown as error:
            if not error.of_data:
                _log.warning("cutting_again", entry=lease.entry, error=error.message)
                return False
            await self._ledger.put_aside(lease, error)
        except BAD_DATA as error:
            await self._ledger.put_aside(lease, error)
        return True


def _of_batch(ping: Ping, batch: str, accepted_ms: int) -> Ping:
    return msgspec.structs.replace(ping, id=f"{batch}0000", accepted_ms=accepted_ms)


def _finished(lease: Lease, batch: str, ping: Ping) -> Settlement:
    """The broadcast is cut to its end: its own share of `open` goes."""
    key = keys.receipt(batch)
    waiting = [Waiting(ping.reply_to, ping.id, key, "0:open")] if ping.reply_to else []
    return Settlement(lease, [ReceiptField(key, "0:open", -1)], (), waiting)
