"""Broadcasts to all users (`to.all_users`): their chunks of users are written while the set of users is scanned.

An append stores no user. The splitter scans the set in the Redis of the registry, and writes the users of the next
chunks, the chunks and the cursor of the scan in one step to the Redis of the queue. The complete list of users is
therefore never stored or held in memory, and only a few chunks are ahead of the workers.

The cursor of a scan is valid in the Redis process that returned it, so it is stored with the run id of that process. A
scan that restarts numbers its chunks onward: a device that an earlier chunk has claimed is not reached again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.errors import UnreadableEntry
from gateway.queue.entries import CHUNKS_MAX, Chunk, Lease, encode
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.numbers import UINT64_MAX, whole
from protocols.ping.model import Ping

SCAN_CHUNK: Final = CHUNKS_MAX
"""Field of `keys.broadcast_users` from the append until the scan has ended, beside the fields of the chunks: while it
exists, the record of reached devices is kept although all chunks so far are settled."""
_END: Final = "end"
_DAMAGED: Final = "the stored cursor of the scan is damaged"

BEGIN_USERS: Final = Script(
    CHECKS
    + """
-- KEYS: users; ARGV: life s, then chunks (index, users)
local life = seconds(ARGV[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], life)
return 1
"""
)
"""Store the first chunks of users of a broadcast with their lifetime, in one step: a connection that is lost in between
would leave them in Redis forever."""

SPLIT_EVERYBODY: Final = Script(
    CHECKS
    + """
-- KEYS: broadcasts, progress, chunks, receipt, receipts, users
-- ARGV: entry, cursor before or '', cursor after, life s, now ms, receipt life s, field of the scan, index of the
--       first chunk, number of chunks, then the users of each chunk, then the chunks
local life, now, receipt_life = seconds(ARGV[4]), whole(ARGV[5]), seconds(ARGV[6])
natural(ARGV[7])
local first, number = natural(ARGV[8]), natural(ARGV[9])
if #ARGV ~= 9 + 2 * number then missing('a chunk, or the users of one,') end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return -1 end
if (redis.call('HGET', KEYS[2], 'cursor') or '') ~= ARGV[2] then return -1 end
redis.call('XLEN', KEYS[3])
redis.call('HLEN', KEYS[4])
redis.call('ZCARD', KEYS[5])
redis.call('HLEN', KEYS[6])
redis.call('HSET', KEYS[6], ARGV[7], '')
for i = 0, number - 1 do
    redis.call('HSET', KEYS[6], first + i, ARGV[10 + i])
    redis.call('XADD', KEYS[3], '*', 'e', ARGV[10 + number + i], 'n', 0, 's', 0)
end
redis.call('EXPIRE', KEYS[6], life)
redis.call('HSET', KEYS[2], 'cursor', ARGV[3])
redis.call('EXPIRE', KEYS[2], life)
-- One more than the chunks, until the scan itself is settled.
add(KEYS[4], '0:open', number + (ARGV[2] == '' and 1 or 0))
redis.call('EXPIRE', KEYS[4], receipt_life)
redis.call('ZADD', KEYS[5], 'NX', now, KEYS[4])
return redis.call('XLEN', KEYS[3])
"""
)
"""Write the users and the entries of the next chunks of a broadcast to all users, and advance its cursor; -1 if another
worker did this step, or the entry is settled."""


def is_to_everybody(ping: Ping) -> bool:
    """Whether a ping goes to all users, and therefore to the stream of broadcasts, regardless of their number."""
    return ping.to is not None and ping.to.all_users


async def open_scan(connection: RedisConnection, users: str, life_s: int) -> None:
    """Create the hash of users of a broadcast to all users, before its entry is appended. Raises StoreDown.

    Args:
        connection: to the queue's Redis.
        users: the hash (`keys.broadcast_users`).
        life_s: its lifetime, seconds.
    """
    await connection.eval(BEGIN_USERS, [users], [life_s, SCAN_CHUNK, b""])


class ScanCursor(NamedTuple):
    """The position up to which a broadcast to all users is split.

    Its text form is `chunks:run id:position`; "" before the first step.

    Attributes:
        chunks: number of chunks that are written.
        run_id: the Redis process that is scanned; "" before the first step.
        position: the cursor of the scan; 0 at its beginning.
        ended: whether the scan has ended.
    """

    chunks: int = 0
    run_id: str = ""
    position: int = 0
    ended: bool = False

    @classmethod
    def parse(cls, text: str) -> "ScanCursor":
        """Parse a stored cursor.

        Raises:
            UnreadableEntry: the cursor is damaged. Without the number of chunks, no chunk can be added.
        """
        if not text:
            return cls()
        chunks, _, rest = text.partition(":")
        run_id, _, position = rest.partition(":")
        number = whole(chunks, highest=CHUNKS_MAX)
        ended = position == _END
        at = 0 if ended else whole(position, highest=UINT64_MAX)
        if number is None or at is None:
            raise UnreadableEntry(_DAMAGED)
        cursor = cls(number, run_id, at, ended)
        if str(cursor) != text:  # no step would find it
            raise UnreadableEntry(_DAMAGED)
        return cursor

    def __str__(self) -> str:
        return f"{self.chunks}:{self.run_id}:{_END if self.ended else self.position}" if self.run_id else ""


class ScanStep(NamedTuple):
    """One step of splitting.

    Attributes:
        lease: the broadcast.
        ping: its ping, with its id and without users.
        before, after: the cursor before and after the step.
        users: logins of each new chunk.
    """

    lease: Lease
    ping: Ping
    before: ScanCursor
    after: ScanCursor
    users: Sequence[Sequence[str]]


class EverybodyStore:
    """The state of broadcasts to all users in the queue's Redis.

    Args:
        connection: to that Redis.
        receipt_s: lifetime of receipts.
    """

    def __init__(self, connection: RedisConnection, receipt_s: int) -> None:
        self._connection = connection
        self._receipt_s = receipt_s

    async def cursor(self, lease: Lease) -> ScanCursor:
        """The position up to which a broadcast is split.

        Raises:
            StoreDown: Redis did not answer.
            UnreadableEntry: the stored cursor is damaged.
        """
        kept = await self._connection.call("HGET", keys.progress(lease.stream, lease.entry), "cursor")
        try:
            return ScanCursor.parse(kept.decode() if kept else "")
        except UnicodeDecodeError as error:
            raise UnreadableEntry(_DAMAGED) from error

    async def write(self, step: ScanStep, now_ms: int) -> int:
        """Write the chunks of a step and its cursor.

        Returns:
            The number of chunks on the stream; -1 if another worker has done this step or the entry is settled.
        """
        lease, ping, first = step.lease, step.ping, step.before.chunks
        names = [lease.stream, keys.progress(lease.stream, lease.entry), keys.CHUNKS]
        names += [keys.receipt(ping.id[:28]), keys.RECEIPTS, keys.broadcast_users(ping.id)]
        words: list[Argument] = [lease.entry, str(step.before), str(step.after), keys.BROADCAST_S, now_ms]
        words += [self._receipt_s + keys.RECEIPT_SLACK_S, SCAN_CHUNK, first, len(step.users)]
        words += map(encode, step.users)
        words += (encode(Chunk(ping, first + index)) for index in range(len(step.users)))
        return int(await self._connection.eval(SPLIT_EVERYBODY, names, words))

    async def waiting_chunks(self) -> int:
        """Number of chunks on their stream."""
        return int(await self._connection.call("XLEN", keys.CHUNKS))
