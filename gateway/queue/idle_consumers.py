"""Removal of the consumer names of gateways that never return.

A worker reads the streams as the consumer `gateway id:slot`. The name of a gateway that was removed would stay in
every consumer group. A name is removed only if it holds no entry and has read nothing for `IDLE_S`; Redis checks both
and removes the name in one step. A worker that returns later gets its name again with its first read.
"""

from typing import Final

from gateway.queue.worker_reports import WorkerReports
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError, Script
from gateway.store.lua import CHECKS

IDLE_S: Final = 86_400
"""Time without a read after which a name is removed. A worker reads at least every few seconds."""
CHECK_S: Final = 600.0
"""Interval between two checks by each worker."""

REMOVE_IDLE: Final = Script(
    CHECKS
    + """
-- KEYS: stream; ARGV: group, idle ms, names that stay
local idle_ms, stays, gone = natural(ARGV[2]), {}, {}
for i = 3, #ARGV do stays[ARGV[i]] = true end
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local facts = {}
    for i = 1, #flat, 2 do facts[flat[i]] = flat[i + 1] end
    if facts.pending == 0 and facts.idle >= idle_ms and not stays[facts.name] then gone[#gone + 1] = facts.name end
end
for _, name in ipairs(gone) do redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name) end
return gone
"""
)
"""Remove the consumers without pending entries that have been idle for a long time. Returns their names."""


async def remove_idle_consumers(connection: RedisConnection, idle_ms: int = IDLE_S * 1000) -> list[str]:
    """Remove idle consumer names from all streams, except those of workers that report; returns the names.

    The reports of killed workers are removed, too.

    Args:
        connection: to the queue's Redis.
        idle_ms: time without a read.

    Raises:
        StoreDown: Redis did not answer.
    """
    reports = WorkerReports(connection)
    await reports.remove_stale()
    working = [report.name for report in await reports.read()]
    removed: set[str] = set()
    for stream in keys.STREAMS:
        try:
            gone = await connection.eval(REMOVE_IDLE, [stream], [keys.GROUP, idle_ms, *working])
        except RedisReplyError as error:
            if not any(words in error.words for words in ("no such key", "NOGROUP")):
                raise
            continue  # a new or flushed Redis
        removed.update(name.decode("utf-8", "replace") for name in gone)
    return sorted(removed)
