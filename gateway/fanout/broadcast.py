"""Cutting a ping for many users into pieces.

The users lie beside the queue in chunks. Chunk by chunk their devices are looked up, those that another user
of the same ping shares are left out, and the rest goes on the pieces stream, in one step with the cursor: a
kill costs a piece and not the broadcast, and nothing here is ever as large as the ping is.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from gateway.errors import StoreDown
from gateway.fanout.ledger import Ledger
from gateway.fanout.recipients import choose
from gateway.metrics import Metrics
from gateway.store import keys
from gateway.store.entries import Lease, Piece, decode_entry
from gateway.store.receipts import Record, pack_delta
from gateway.store.registration import UNKNOWN_USER, Registration
from gateway.store.registry import Registry
from gateway.store.streams import BroadcastStore, Cut, ReceiptField, Settlement, Waiting
from gateway.turns import Turns, slices
from protocols.devices import REPEATED, Chosen, dedupe_key
from protocols.ping.model import Ping

_log = structlog.get_logger("broadcast")

AHEAD_PIECES: Final = 40
"""Pieces that may wait on their stream before cutting pauses: they are what Redis holds of a broadcast twice."""
CUTTING_MAX: Final = 8
"""Broadcasts that one worker cuts at once: a long one must not keep others back, and thousands may be queued."""
_PAUSE_S: Final = 0.02
LOST_PART: Final = "lost_part"
"""Reason under `skipped`: a part of the list of users (`keys.CHUNK_USERS`) that Redis no longer has."""


class Cutter:
    """Cuts the broadcasts that this worker holds.

    Args:
        store: cursor, users and pieces.
        registry: who has which devices.
        ledger: keeps the lease while a broadcast is cut.
        metrics: where what is left out is counted.
        turns: between whose slices small pings are served.
    """

    def __init__(
        self, store: BroadcastStore, registry: Registry, ledger: Ledger, metrics: Metrics, turns: Turns
    ) -> None:
        self._store = store
        self._registry = registry
        self._ledger = ledger
        self._metrics = metrics
        self._turns = turns

    async def cut(self, lease: Lease) -> None:
        """Cut one broadcast to its end, from wherever it stood.

        Raises:
            StoreDown: Redis did not answer; the broadcast stays leased and goes on from its cursor.
        """
        entry = decode_entry(lease.payload)
        ping = _of_batch(entry.pings[0], entry.batch, entry.accepted_ms)
        cursor = await self._store.cursor(lease)
        # Redis looks the next chunk up while this worker is busy with the one before.
        ahead = asyncio.create_task(self._look_up(ping.id, cursor))
        try:
            while cursor < entry.chunks:
                found = await ahead
                ahead = asyncio.create_task(self._look_up(ping.id, cursor + 1))
                waiting = await self._cut_chunk(lease, entry.batch, ping, cursor, found)
                if waiting < 0:
                    self._ledger.let_go(lease)
                    return
                cursor += 1
                while waiting > AHEAD_PIECES:
                    await asyncio.sleep(_PAUSE_S)
                    waiting = await self._store.waiting_pieces()
        finally:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)
        self._ledger.settle(_finished(lease, entry.batch, ping))

    async def _look_up(self, ping_id: str, chunk: int) -> list[Registration]:
        """The registrations of a chunk's users; nobody's beyond the last."""
        users = await self._store.users(ping_id, chunk)
        return await self._registry.devices_of_many(users) if users else []

    async def _cut_chunk(
        self, lease: Lease, batch: str, ping: Ping, chunk: int, found: Sequence[Registration]
    ) -> int:
        chosen: list[Chosen] = []
        phones: list[bytes] = []
        skipped: dict[str, int] = {}
        together: set[str] = set()
        for part in slices(found):
            await self._turns.turn()
            chosen += choose(part, together, skipped)
            phones += map(_digest, chosen[len(phones) :])
        if not found:  # evicted or deleted: no chunk is empty
            _log.error("users_lost", ping_id=ping.id, chunk=chunk)
            skipped[LOST_PART] = 1
        seen = await self._store.seen(ping.id, phones)
        fresh = [one for one, known in zip(chosen, seen, strict=True) if not known]
        if len(fresh) < len(chosen):
            skipped[REPEATED] = skipped.get(REPEATED, 0) + len(chosen) - len(fresh)
        self._count(skipped)
        devices = tuple(one.device for one in fresh)
        starts = range(0, len(devices), keys.PIECE_SENDS)
        pieces = [Piece(ping, devices[start : start + keys.PIECE_SENDS]) for start in starts]
        new_phones = [phone for phone, known in zip(phones, seen, strict=True) if not known]
        cut = Cut(chunk, chunk + 1, pack_delta(Record(skipped=skipped)), new_phones, pieces)
        return await self._store.cut(lease, batch, ping.id, cut, time.time_ns() // 1_000_000)

    def _count(self, skipped: dict[str, int]) -> None:
        for reason, number in skipped.items():
            if reason == UNKNOWN_USER:
                self._metrics.users_unknown.inc(number)
            else:
                self._metrics.devices_skipped(reason).inc(number)


class Cutting:
    """The broadcasts being cut, each by a task of its own, so that a long one does not keep others back."""

    def __init__(self, cutter: Cutter, ledger: Ledger) -> None:
        self._cutter = cutter
        self._ledger = ledger
        self._tasks: set[asyncio.Task[None]] = set()

    async def room(self) -> None:
        """Wait until another one may be begun: each holds a chunk of users and puts pieces on their stream."""
        while len(self._tasks) >= CUTTING_MAX:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    def begin(self, lease: Lease) -> None:
        """Cut a broadcast in the background."""
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
        while True:
            try:
                return await self._cutter.cut(lease)
            except StoreDown as error:
                _log.warning("cutting_again", entry=lease.entry, error=error.message)
            except (msgspec.DecodeError, IndexError, ValueError) as error:
                return await self._ledger.put_aside(lease, error)
            await asyncio.sleep(1.0)


def _of_batch(ping: Ping, batch: str, accepted_ms: int) -> Ping:
    return msgspec.structs.replace(ping, id=f"{batch}0000", accepted_ms=accepted_ms)


def _digest(one: Chosen) -> bytes:
    """12 bytes: two of a hundred million phones fall together with a chance of 10^-13."""
    key = dedupe_key(one.device).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(key, digest_size=12).digest()


def _finished(lease: Lease, batch: str, ping: Ping) -> Settlement:
    """The broadcast is cut to its end: what it kept beside the queue goes, and its own share of `open`."""
    key = keys.receipt(batch)
    waiting = [Waiting(ping.reply_to, ping.id, key, "0:open")] if ping.reply_to else []
    drop = [keys.broadcast_users(ping.id), keys.broadcast_seen(ping.id)]
    return Settlement(lease, [ReceiptField(key, "0:open", -1)], (), waiting, (), drop)
