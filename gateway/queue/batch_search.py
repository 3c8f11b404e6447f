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
APPENDED_EARLY_MS: Final = 1_000
"""Time before that of the batch at which the search begins: nearly all entries follow it closely."""
ENTRIES_MAX: Final = 1_000
"""Most entries that are searched after that time, before it, and among the newest."""
_TOGETHER: Final = 50
"""Entries of one step, during which Redis serves no other client for about a millisecond."""
_HEAD_BYTES: Final = 40
"""The id of a batch is among the first bytes of an entry (`entries.Entry`)."""

FIND: Final = Script(
    CHECKS
    + f"""
-- KEYS: stream; ARGV: command, from, to, most entries, batch
local most, found = natural(ARGV[4]), ''
local entries = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', most)
for _, entry in ipairs(entries) do
    for i = 1, #entry[2], 2 do
        if entry[2][i] == 'e' and string.find(string.sub(entry[2][i + 1], 1, {_HEAD_BYTES}), ARGV[5], 1, true) then
            found = entry[1]
        end
    end
end
return {{found, #entries == most and entries[most][1] or ''}}
"""
)
"""Search some entries. Returns the id of the entry with the batch, and that of the last one if there may be more."""


async def find_entry(connection: RedisConnection, stream: str, batch: str) -> str | None:
    """The id of the entry of a batch in a stream, as far as `ENTRIES_MAX` reach; None: it is not there.

    Args:
        connection: to the queue's Redis.
        stream: key of the stream.
        batch: id of the batch, 28 hex digits.

    Raises:
        StoreDown: Redis did not answer.
    """
    at_ms = int(batch[:12], 16)
    near, last = max(0, at_ms - APPENDED_EARLY_MS), at_ms + CLOCK_DIFFERENCE_MS
    first = max(0, at_ms - CLOCK_DIFFERENCE_MS)
    spans = (("XRANGE", str(near), str(last)), ("XRANGE", str(first), f"({near}"), ("XREVRANGE", "+", "-"))
    for command, begin, end in spans:
        if found := await _search(connection, command, stream, (begin, end), batch):
            return found
    return None


async def _search(
    connection: RedisConnection, command: str, stream: str, span: tuple[str, str], batch: str
) -> str | None:
    begin, end = span
    for _ in range(0, ENTRIES_MAX, _TOGETHER):
        found, last = await connection.eval(FIND, [stream], [command, begin, end, _TOGETHER, batch])
        if found or not last:
            return found.decode() or None
        begin = f"({last.decode()}"
    return None
