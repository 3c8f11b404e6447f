"""Pings that are to be delivered later (`deliver_at`): the schedule in Redis and its atomic steps.

The schedule holds whole batches, as the queue does, in a sorted set by the instant from which they may be delivered.
By Redis' clock alone, any gateway moves the batches that are due to the end of the stream of pings or of broadcasts. A
move is one step of Redis: it needs no lease, and several gateways cannot double a ping.

The instant is absolute. A change of Redis' clock therefore moves no entry of the schedule, unlike a retry, whose delay
is relative: after a change forward, the pings of the skipped time are due; after a change back, the pings that were not
released wait until Redis' clock reaches their instant.

A step releases pings only as far as the gateways finish them, so that pings that are due at the same instant delay
neither retries nor other pings: the unfinished pings of the queue stay below the number that was finished in
`RELEASE_WINDOW_MS`. That number is measured from step to step. A batch is released in any case after a pause, so that a
permanently long queue does not delay scheduled pings forever.

A batch keeps the ids of its pings. Its entry gets the instant of its release as that of its acceptance, so that times
to live and latencies count from there.
"""

from typing import Final, NamedTuple

from gateway.queue.append_batch import AppendBatch
from gateway.queue.entries import Entry, encode
from gateway.queue.scripts import APPEND_ONCE
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.instants import ms_of_score
from protocols.numbers import stored

RELEASED_PINGS: Final = 2_000
"""Unfinished pings of the queue beyond which no step releases more, however fast they are finished."""
RELEASED_LEAST: Final = keys.ENTRY_PINGS
"""Unfinished pings of the queue up to which a step releases pings, however slowly they are finished."""
RELEASE_WINDOW_MS: Final = 500
"""Time in which the unfinished pings of the queue are finished; also the period over which their rate is averaged. A
provider whose responses take longer than the window less the interval of the steps slows the release down."""
RELEASE_PAUSES_MS: Final = (400, 2_000)
"""Pauses after which a batch is released although the queue is too long; the second one beyond `RELEASED_PINGS`."""
RELEASED_ENTRIES: Final = 500
"""Most entries of one step, during which Redis serves no other client for some milliseconds."""
INSTANT_AT: Final = encode(Entry("0" * 28, 0, ())).index(0)
"""Offset of `Entry.accepted_ms` in an encoded entry: it follows the id of the batch, whose length is fixed."""


def _lua(text: str) -> str:
    """Fill in the names of keys that a script makes itself, and the place of the instant."""
    names = {
        "@BODIES@": keys.SCHEDULED_BODIES,
        "@MARKER@": keys.marker("", 0).removesuffix(".0"),
        "@USERS@": keys.broadcast_users(""),
        "@WAITS@": keys.IN_SCHEDULE.decode(),
        "@INSTANT@": str(INSTANT_AT),
    }
    for name, value in names.items():
        text = text.replace(name, value)
    return text


SCHEDULE: Final = Script(
    APPEND_ONCE
    + _lua("""
-- ARGV[6]: body; ARGV[7]: due, epoch ms; ARGV[8]: batch
local due, body, batch = natural(ARGV[7]), ARGV[6], ARGV[8]
local held = redis.call('HMGET', KEYS[3], 'scheduled_pings', 'scheduled_bytes')
local pings, bytes = stored(held[1]) + more, stored(held[2]) + size
if pings > most_pings or bytes > most_bytes then
    return {'schedule_full', held[1] or '0'}
end
redis.call('ZCARD', KEYS[1])
redis.call('HLEN', '@BODIES@')
local time = redis.call('TIME')
local wait = math.ceil(math.max(0, due / 1000 - time[1]))
redis.call('ZADD', KEYS[1], due, batch)
redis.call('HSET', '@BODIES@', batch, body)
redis.call('HSET', KEYS[3], 'scheduled_pings', count(pings), 'scheduled_bytes', count(bytes))
redis.call('SET', KEYS[2], '@WAITS@', 'EX', life)
redis.call('PERSIST', '@USERS@' .. batch .. '0000')
for i = 1, keyed do
    redis.call('SET', KEYS[3 + i], ARGV[9 + i], 'EX', once_life + wait)
end
return {'done', '@WAITS@'}
""")
)
"""Put a batch on the schedule, under the conditions of `scripts.APPEND` and with its marker.

A broadcast's users live until its release from then on. An idempotency key lives as long as the batch waits, and its
usual time after that.
"""

RELEASE_SCHEDULED: Final = Script(
    CHECKS
    + _lua("""
-- KEYS: schedule, bodies, stats, pings, broadcasts
-- ARGV: most unfinished pings of the queue, number up to which pings are released in any case, most entries, life of a
--       marker s, life of a broadcast's users s, window ms, pause ms, pause ms of a longer queue
local most, least, most_entries = natural(ARGV[1]), natural(ARGV[2]), natural(ARGV[3])
local life, users_life = seconds(ARGV[4]), seconds(ARGV[5])
local window, pause, long_pause = natural(ARGV[6]), natural(ARGV[7]), natural(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most_entries)
if #names == 0 then return {0, 0} end
redis.call('HLEN', KEYS[2])
redis.call('XLEN', KEYS[4])
redis.call('XLEN', KEYS[5])
local held = redis.call(
    'HMGET', KEYS[3], 'pings', 'bytes', 'scheduled_pings', 'scheduled_bytes',
    'release_step', 'release_held', 'release_rate', 'release_last'
)
local unfinished, rate, last = stored(held[1]), stored(held[7]), stored(held[8])
local age = math.max(1, now - stored(held[5]))
local share = math.min(1, age / window)
rate = rate * (1 - share) + math.max(0, stored(held[6]) - unfinished) * 1000 / age * share
local room = math.max(least, math.min(most, rate * window / 1000)) - unfinished
if unfinished >= most then pause = long_pause end
if room <= 0 and (now < last or now - last >= pause) then room = 1 end
redis.call('PERSIST', KEYS[1])  -- first, so that a full Redis takes the rest (see the docstring of `scripts`)
local entries, pings, bytes = 0, 0, 0
for _, name in ipairs(names) do
    if pings >= room then break end
    local body = redis.call('HGET', KEYS[2], name) or ''
    local more, size, kind, at = string.match(body, '^(%d+) (%d+) ([pb]) ()')
    more, size = stored(more), stored(size)
    local stream = kind == 'b' and KEYS[5] or KEYS[4]
    local entry
    if at then
        local rest = at + @INSTANT@
        local packed = string.sub(body, at, rest - 1) .. cmsgpack.pack(now) .. string.sub(body, rest)
        entry = redis.call('XADD', stream, '*', 'e', packed, 'n', more, 's', size)
    else
        -- A batch without a body is quarantined by its reader; it must not vanish unseen.
        entry = redis.call('XADD', stream, '*', 'e', body, 'n', 0, 's', 0, 'name', name)
    end
    redis.call('SET', '@MARKER@' .. name .. '.0', entry, 'EX', life)
    redis.call('EXPIRE', '@USERS@' .. name .. '0000', users_life)
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
    entries, pings, bytes = entries + 1, pings + more, bytes + size
end
local empty = redis.call('ZCARD', KEYS[1]) == 0  -- then a count that was damaged is corrected
redis.call(
    'HSET', KEYS[3],
    'pings', count(stored(held[1]) + pings),
    'bytes', count(stored(held[2]) + bytes),
    'scheduled_pings', empty and 0 or count(stored(held[3]) - pings),
    'scheduled_bytes', empty and 0 or count(stored(held[4]) - bytes),
    'release_step', now, 'release_held', count(unfinished + pings), 'release_rate', count(math.floor(rate)),
    'release_last', pings > 0 and now or last
)
return {entries, pings}
""")
)
"""Move batches that are due to their streams, the earliest first; returns the numbers of batches and of pings."""


class ScheduleDepth(NamedTuple):
    """Pings that wait for their `deliver_at`, and the bytes that they take."""

    pings: int
    bytes: int


def body_of(batch: AppendBatch, packed: bytes) -> bytes:
    """A batch as the schedule holds it: its counts and stream as text, then the entry without its instant.

    Args:
        batch: the batch.
        packed: its entry.
    """
    kind = "b" if batch.stream == keys.BROADCASTS else "p"
    return body(len(batch.pings), batch.size, kind, packed, batch.accepted_ms)


def body(pings: int, size: int, kind: str, packed: bytes, accepted_ms: int) -> bytes:
    """The form of `body_of`.

    Args:
        pings, size: the counts of the batch.
        kind: `p` for pings, `b` for a broadcast.
        packed: the entry.
        accepted_ms: the instant in it.
    """
    rest = packed[INSTANT_AT + len(encode(accepted_ms)) :]
    return f"{pings} {size} {kind} ".encode() + packed[:INSTANT_AT] + rest


async def release(connection: RedisConnection) -> int:
    """Move pings that are due to the queue, and return their number.

    Raises:
        StoreDown: Redis did not answer; the step may have been done.
    """
    names = [keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.STATS, keys.PINGS, keys.BROADCASTS]
    words: list[Argument] = [RELEASED_PINGS, RELEASED_LEAST, RELEASED_ENTRIES]
    words += [keys.RELEASED_S, keys.BROADCAST_S, RELEASE_WINDOW_MS, *RELEASE_PAUSES_MS]
    _, pings = await connection.eval(RELEASE_SCHEDULED, names, words)
    return int(pings)


async def depth(connection: RedisConnection) -> ScheduleDepth:
    """The pings on the schedule, and their size. Raises StoreDown."""
    pings, size = await connection.call("HMGET", keys.STATS, "scheduled_pings", "scheduled_bytes")
    return ScheduleDepth(max(stored(pings), 0), max(stored(size), 0))


async def due_ms(connection: RedisConnection, batch_id: str) -> int | None:
    """The instant of a batch on the schedule, epoch ms; None: it is not there. Raises StoreDown."""
    score = await connection.call("ZSCORE", keys.SCHEDULED_PINGS, batch_id)
    return None if score is None else ms_of_score(score)
