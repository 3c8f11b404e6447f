"""The search for the entry of a batch in a stream, for a ping that waits longer than the lifetime of its marker.

The id of an entry is Redis' time of the append, and the id of a batch begins with the gateway's time, so the entry is
near that time in the stream. While Redis' clock is behind an earlier reading, new entries follow that reading: they are
searched among the newest.
"""

from typing import Final

from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS

CLOCK_DIFFERENCE_MS: Final = 60_000
"""Largest difference between the clocks of a gateway and of Redis, and longest time for an append."""
ENTRIES_MAX: Final = 1_000
"""Most entries that are searched, both near the time and among the newest."""
_TOGETHER: Final = 50
"""Entries of one step, during which Redis serves no other client for about a millisecond."""
_HEAD_BYTES: Final = 40
"""The id of a batch is among the first bytes of an entry (`entries.Entry`)."""

FIND: Final = Script(
    CHECKS
    + f"""
-- KEYS: stream; ARGV: command, from, to, most entries, batch
local most, found = natural(ARGV[4]), 0
local entries = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', most)
for _, entry in ipairs(entries) do
    for i = 1, #entry[2], 2 do
        if entry[2][i] == 'e' and string.find(string.sub(entry[2][i + 1], 1, {_HEAD_BYTES}), ARGV[5], 1, true) then
            found = 1
        end
    end
end
return {{found, #entries == most and entries[most][1] or ''}}
"""
)
"""Search some entries. Returns 1 if the batch is among them, and the id of the last one if there may be more."""


async def is_in_stream(connection: RedisConnection, stream: str, batch: str) -> bool:
    """Whether the entry of a batch is in a stream, as far as `ENTRIES_MAX` reach.

    Args:
        connection: to the queue's Redis.
        stream: key of the stream.
        batch: id of the batch, 28 hex digits.

    Raises:
        StoreDown: Redis did not answer.
    """
    at_ms = int(batch[:12], 16)
    first, last = max(0, at_ms - CLOCK_DIFFERENCE_MS), at_ms + CLOCK_DIFFERENCE_MS
    return await _search(connection, "XRANGE", stream, (str(first), str(last)), batch) or await _search(
        connection, "XREVRANGE", stream, ("+", "-"), batch
    )


async def _search(
    connection: RedisConnection, command: str, stream: str, span: tuple[str, str], batch: str
) -> bool:
    begin, end = span
    for _ in range(0, ENTRIES_MAX, _TOGETHER):
        found, last = await connection.eval(FIND, [stream], [command, begin, end, _TOGETHER, batch])
        if found or not last:
            return bool(found)
        begin = f"({last.decode()}"
    return False
