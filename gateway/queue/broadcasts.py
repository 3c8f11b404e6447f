"""Broadcasts in Redis: chunks of users, the cursors of split broadcasts, and the devices that each chunk reaches."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from gateway.errors import UnreadableEntry
from gateway.queue import scripts
from gateway.queue.badges import BadgeStore
from gateway.queue.entries import Chunk, Lease, decoder, encode
from gateway.queue.everybody import BEGIN_USERS, open_scan
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, RedisReplyError
from protocols.numbers import whole

_log = structlog.get_logger("broadcasts")
decode_users: Final = decoder(list[str])
_DROPPED_TOGETHER: Final = 500
"""Chunks of users that are deleted in one command: some megabytes."""


_STORED_CHUNKS: Final = 16
"""Chunks of users that are written with one command."""


async def store_users(connection: RedisConnection, name: str, users: Sequence[str], life_s: int) -> int:
    """Store the users of a broadcast in chunks, before its entry is appended. May be repeated.

    Args:
        connection: to the queue's Redis.
        name: the hash (`keys.broadcast_users`).
        users: logins; none: the broadcast goes to all users.
        life_s: lifetime of the hash, seconds.

    Returns:
        The number of chunks.

    Raises:
        StoreDown: Redis did not answer, or refuses the write.
    """
    if not users:
        await open_scan(connection, name, life_s)
    starts = range(0, len(users), keys.CHUNK_USERS)
    for first in range(0, len(starts), _STORED_CHUNKS):
        words: list[Argument] = []
        for start in starts[first : first + _STORED_CHUNKS]:
            words += [start // keys.CHUNK_USERS, encode(users[start : start + keys.CHUNK_USERS])]
        if first:
            await connection.call("HSET", name, *words)
        else:
            await connection.eval(BEGIN_USERS, [name], [life_s, *words])
    return len(starts)


async def last_users(connection: RedisConnection, ping_id: str, end: int) -> int:
    """The number of users of the last chunk of a broadcast that is cancelled.

    It is 0 if the chunk is missing or damaged, which must not prevent the cancellation.

    Args:
        connection: to the queue's Redis.
        ping_id: id of the broadcast.
        end: number of its chunks.

    Raises:
        StoreDown: Redis did not answer.
    """
    value = await connection.call("HGET", keys.broadcast_users(ping_id), end - 1)
    try:
        return len(decode_users(value)) if value is not None else 0
    except msgspec.DecodeError:
        _log.error("broadcast_chunk_unreadable", ping_id=ping_id, chunk=end - 1)
        return 0


class SplitStep(NamedTuple):
    """One step of splitting a ping for many devices.

    Attributes:
        lease: the entry that holds the ping.
        batch_id, ping_index: batch and index of the ping.
        before: the stored cursor before the step; b"": none.
        after: the cursor after it.
        chunks: chunks to append to their stream.
        more: open chunks to count in addition to these: 1 until the ping itself is settled.
    """

    lease: Lease
    batch_id: str
    ping_index: int
    before: bytes
    after: bytes
    chunks: Sequence[Chunk] = ()
    more: int = 0


class BroadcastStore:
    """State of broadcasts in Redis, for the splitter and for the workers that deliver chunks."""

    def __init__(self, connection: RedisConnection, receipt_s: int) -> None:
        self.badges: Final = BadgeStore(connection)
        """The counters of badges, in the same Redis."""
        self._connection = connection
        self._receipt_s = receipt_s

    async def cursor(self, lease: Lease) -> int:
        """The index of the chunk at which the splitting continues.

        Raises:
            UnreadableEntry: the stored cursor is not the index of a chunk, so the splitting cannot continue.
        """
        kept = await self._connection.call("HGET", keys.progress(lease.stream, lease.entry), "cursor")
        cursor = whole(kept) if kept is not None else 0
        # In another form than that of a step, no step would find it.
        if cursor is None or (kept is not None and kept != b"%d" % cursor):
            raise UnreadableEntry("the stored cursor is not a number")
        return cursor

    async def chunk_count(self, ping_id: str) -> int:
        """Number of chunks of users that Redis has for a broadcast."""
        return int(await self._connection.call("HLEN", keys.broadcast_users(ping_id)))

    async def waiting_chunks(self) -> int:
        """Number of chunks on their stream."""
        return int(await self._connection.call("XLEN", keys.CHUNKS))

    async def split_users(
        self, lease: Lease, batch_id: str, before: int, chunks: Sequence[Chunk], now_ms: int
    ) -> int:
        """Append the chunks from index `before` on to their stream and advance the cursor in one step.

        Returns:
            The number of chunks on the stream; -1 if another worker has done this step.
        """
        names = [lease.stream, keys.progress(lease.stream, lease.entry), keys.CHUNKS]
        names += [keys.receipt(batch_id), keys.RECEIPTS]
        words: list[Argument] = [lease.entry, before, before + len(chunks), keys.BROADCAST_S, now_ms]
        words += [self._receipt_s + keys.RECEIPT_SLACK_S, *map(encode, chunks)]
        return int(await self._connection.eval(scripts.SPLIT_USERS, names, words))

    async def split_cursor(self, lease: Lease) -> bytes:
        """The stored cursor of an entry whose pings are split; b"" if the splitting has not begun."""
        value = await self._connection.call("HGET", keys.progress(lease.stream, lease.entry), "cursor")
        return bytes(value or b"")

    async def begun_splits(self, lease: Lease, batch_id: str, pings: int) -> Collection[int]:
        """The pings of an entry, by their number, whose splitting has begun: their receipt counts it as open.

        None of them if another program replaced the cursor or the receipt by a value of another type.

        Raises:
            StoreDown: Redis did not answer.
        """
        fields = [f"{number}:open" for number in range(pings)]
        try:
            if lease.stream != keys.PINGS or not await self.split_cursor(lease):
                return ()
            counts = await self._connection.call("HMGET", keys.receipt(batch_id), *fields)
        except RedisReplyError as error:
            if not error.of_data:
                raise
            return ()
        return [number for number, count in enumerate(counts) if count is not None]

    async def split_devices(self, step: SplitStep, now_ms: int) -> int:
        """Append chunks to their stream and advance the cursor in one step.

        Returns:
            The number of chunks on the stream; -1 if another worker has done this step or the entry is settled.
        """
        lease = step.lease
        names = [lease.stream, keys.progress(lease.stream, lease.entry), keys.CHUNKS]
        names += [keys.receipt(step.batch_id), keys.RECEIPTS]
        words: list[Argument] = [lease.entry, step.before, step.after, keys.BROADCAST_S, now_ms]
        words += [self._receipt_s + keys.RECEIPT_SLACK_S, f"{step.ping_index}:open", step.more]
        return int(
            await self._connection.eval(scripts.SPLIT_DEVICES, names, [*words, *map(encode, step.chunks)])
        )

    async def users(self, ping_id: str, chunk_index: int) -> list[str]:
        """The users of one chunk of a broadcast; none if it is missing.

        Raises:
            StoreDown: Redis did not answer.
            DecodeError: the stored users are damaged.
        """
        value = await self._connection.call("HGET", keys.broadcast_users(ping_id), chunk_index)
        return decode_users(value) if value is not None else []

    async def drop_users(self, ping_id: str, first: int, end: int) -> int:
        """Delete the users of the chunks from index `first` up to `end`, except those of the last one.

        All chunks but the last have the same number of users, so that the result is the same after a repetition.

        Returns:
            The number of users of all these chunks.
        """
        last = await last_users(self._connection, ping_id, end)
        for start in range(first, end - 1, _DROPPED_TOGETHER):
            fields = range(start, min(start + _DROPPED_TOGETHER, end - 1))
            await self._connection.call("HDEL", keys.broadcast_users(ping_id), *fields)
        return (end - 1 - first) * keys.CHUNK_USERS + last

    async def claim(self, ping_id: str, chunk_index: int, phones: Sequence[bytes]) -> list[bool]:
        """Whether this chunk reaches each of these devices; another chunk of the broadcast reaches the rest."""
        if not phones:
            return []
        words: list[Argument] = [chunk_index, keys.BROADCAST_S, *phones]
        reply: list[int] = await self._connection.eval(
            scripts.CLAIM, [keys.broadcast_devices(ping_id)], words
        )
        return [bool(claimed) for claimed in reply]
