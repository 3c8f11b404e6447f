"""Broadcasts in Redis: chunks of users, the cursors of split broadcasts, and the devices that each chunk reaches."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.errors import UnreadableEntry
from gateway.queue import scripts
from gateway.queue.entries import Lease, Piece, decoder, encode
from gateway.store import keys
from gateway.store.connection import Link, Word
from protocols.numbers import whole

decode_users: Final = decoder(list[str])


class SplitStep(NamedTuple):
    """One step of splitting a ping for many devices.

    Attributes:
        lease: the entry that holds the ping.
        batch, place: which ping it is.
        before, after: the cursor.
        pieces: what goes on the stream of pieces.
        more: counted as still to come beside these pieces: 1 until the ping itself is settled.
    """

    lease: Lease
    batch: str
    place: int
    before: str
    after: str
    pieces: Sequence[Piece] = ()
    more: int = 0


class BroadcastStore:
    """What the cutter of a broadcast, and whoever delivers its pieces, read and write."""

    def __init__(self, link: Link, receipt_s: int) -> None:
        self._link = link
        self._receipt_s = receipt_s

    async def cursor(self, lease: Lease) -> int:
        """The chunk at which cutting goes on.

        Raises:
            UnreadableEntry: what is kept is no number of a chunk; cutting cannot go on from there.
        """
        kept = await self._link.call("HGET", keys.progress(lease.stream, lease.entry), "cursor")
        cursor = whole(kept) if kept is not None else 0
        if cursor is None:
            raise UnreadableEntry("its cursor is no number")
        return cursor

    async def chunks(self, ping_id: str) -> int:
        """How many chunks of users are kept for a broadcast."""
        return int(await self._link.call("HLEN", keys.broadcast_users(ping_id)))

    async def waiting_pieces(self) -> int:
        """Pieces on their stream."""
        return int(await self._link.call("XLEN", keys.PIECES))

    async def cut(self, lease: Lease, batch: str, before: int, pieces: Sequence[Piece], now_ms: int) -> int:
        """Put the pieces from chunk `before` on their stream and advance the cursor in one step.

        Returns:
            How many pieces wait; -1 where another worker has cut this part.
        """
        names = [lease.stream, keys.progress(lease.stream, lease.entry), keys.PIECES]
        names += [keys.receipt(batch), keys.RECEIPTS]
        words: list[Word] = [lease.entry, before, before + len(pieces), keys.BROADCAST_S, now_ms]
        words += [self._receipt_s + keys.RECEIPT_SLACK_S, *map(encode, pieces)]
        return int(await self._link.eval(scripts.CUT, names, words))

    async def split_cursor(self, lease: Lease) -> str:
        """Where splitting an entry's pings goes on; "": it has not begun."""
        value = await self._link.call("HGET", keys.progress(lease.stream, lease.entry), "cursor")
        return value.decode("utf-8", "replace") if value else ""

    async def split(self, step: SplitStep, now_ms: int) -> int:
        """Put pieces on their stream and advance the cursor in one step.

        Returns:
            How many pieces wait; -1 where another worker has done this step, or the entry is settled.
        """
        lease = step.lease
        names = [lease.stream, keys.progress(lease.stream, lease.entry), keys.PIECES]
        names += [keys.receipt(step.batch), keys.RECEIPTS]
        words: list[Word] = [lease.entry, step.before, step.after, keys.BROADCAST_S, now_ms]
        words += [self._receipt_s + keys.RECEIPT_SLACK_S, f"{step.place}:open", step.more]
        return int(await self._link.eval(scripts.SPLIT, names, [*words, *map(encode, step.pieces)]))

    async def users(self, ping_id: str, chunk: int) -> list[str]:
        """One chunk of the broadcast's users."""
        value = await self._link.call("HGET", keys.broadcast_users(ping_id), chunk)
        return decode_users(value) if value is not None else []

    async def claim(self, ping_id: str, chunk: int, phones: Sequence[bytes]) -> list[bool]:
        """Which of these phones this chunk reaches; the others another chunk of the broadcast does."""
        if not phones:
            return []
        words: list[Word] = [chunk, keys.BROADCAST_S, *phones]
        reply: list[int] = await self._link.eval(scripts.CLAIM, [keys.broadcast_reached(ping_id)], words)
        return [bool(mine) for mine in reply]
