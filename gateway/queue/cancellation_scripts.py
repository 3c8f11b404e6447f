"""Atomic steps that cancel pings, in the form and under the rules of `gateway.queue.scripts`.

Each may be repeated after a lost reply. A Redis at its `maxmemory` accepts cancellations, since they drain the queue:
each script begins with a write that takes no memory.
"""

from typing import Final

from gateway.queue.outbox import ADD_RECORD
from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

CANCEL: Final = Script(
    CHECKS
    + """
-- KEYS: cancelled, version, receipt, receipts
-- ARGV: ping, its index in the batch, life of the cancellation s, receipt life s, most ids
local ping, mark = ARGV[1], count(natural(ARGV[2])) .. ':cancelled'
local life, receipt_life, most = seconds(ARGV[3]), seconds(ARGV[4]), natural(ARGV[5])
if #ping ~= 32 then missing('the id of a ping') end
local open = redis.call('HGET', KEYS[3], ARGV[2] .. ':open')
local settled = open or redis.call('HGET', KEYS[3], 'base')
local marked = redis.call('HGET', KEYS[3], mark)
if settled and stored(open) <= 0 then
    if marked then redis.call('EXPIRE', KEYS[3], receipt_life) end  -- a write: WAIT refers to the last one
    return marked and 'cancelled' or 'done'
end
local held = redis.call('ZCARD', KEYS[1])
if held >= most and not redis.call('ZSCORE', KEYS[1], ping) then return 'full' end
redis.call('GET', KEYS[2])
redis.call('ZCARD', KEYS[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('PERSIST', KEYS[1])  -- first, so that a full Redis accepts the rest
redis.call('ZADD', KEYS[1], now + life * 1000, ping)
redis.call('EXPIRE', KEYS[1], life)
redis.call('SET', KEYS[2], time[1] .. '.' .. time[2] .. '.' .. ping, 'EX', life)
redis.call('HSET', KEYS[3], mark, now)
redis.call('EXPIRE', KEYS[3], receipt_life)
redis.call('ZADD', KEYS[4], 'NX', now, KEYS[3])
return 'open'
"""
)
"""Cancel a ping of the queue: `open`; `cancelled` if it is finished and was cancelled before; `done` if it is finished
without that; `full` if the set of cancelled pings is full. Only `open` writes."""

CANCEL_SCHEDULED: Final = Script(
    CHECKS
    + ADD_RECORD
    + """
-- KEYS: schedule, bodies, stats, receipt, receipts, outbox, its totals
-- ARGV: batch, SHA-1 of its body, the body without the ping or '', bytes of the ping, its index, its packed record,
--       receipt life s, most bytes of the outbox, its packed events or ''
local batch, size, index = ARGV[1], natural(ARGV[4]), natural(ARGV[5])
local record, receipt_life, limit = ARGV[6], seconds(ARGV[7]), natural(ARGV[8])
if not ARGV[9] then missing('the events') end
local body = redis.call('HGET', KEYS[2], batch)
if not body or redis.sha1hex(body) ~= ARGV[2] or not redis.call('ZSCORE', KEYS[1], batch) then return 'changed' end
local held = redis.call('HMGET', KEYS[3], 'scheduled_pings', 'scheduled_bytes', 'receipt_bytes')
local written = stored(redis.call('HGET', KEYS[4], 'size')) + #record
redis.call('ZCARD', KEYS[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('PERSIST', KEYS[1])  -- first, so that a full Redis accepts the rest
if ARGV[3] == '' then
    redis.call('ZREM', KEYS[1], batch)
    redis.call('HDEL', KEYS[2], batch)
    redis.call('UNLINK', '@USERS@' .. batch .. '0000')
else
    redis.call('HSET', KEYS[2], batch, ARGV[3])
end
redis.call(
    'HSET', KEYS[3],
    'scheduled_pings', count(stored(held[1]) - 1),
    'scheduled_bytes', count(stored(held[2]) - size),
    'receipt_bytes', count(stored(held[3]) + #record)
)
redis.call('HSET', KEYS[4], index .. '+0-0-0', record, 'size', count(written))
redis.call('HSET', KEYS[4], index .. ':cancelled', now, index .. ':open', 0)
redis.call('EXPIRE', KEYS[4], receipt_life)
redis.call('ZADD', KEYS[5], 'NX', now, KEYS[4])
if ARGV[9] ~= '' then add_ping_record(KEYS[6], KEYS[7], limit, batch, {'w', ARGV[9], 'b', batch, 'd', ''}) end
return 'cancelled'
""".replace("@USERS@", keys.broadcast_users(""))
)
"""Take a ping from the schedule, and write its receipt and the event of its completion: `cancelled`; `changed`, and
nothing is written, if the batch is no longer as the caller has read it."""

SWEEP: Final = Script(
    CHECKS
    + """
-- KEYS: later bodies, later, cancelled; ARGV: cursor, number of retries to examine
local most = natural(ARGV[2])
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', most)
local due = {}
for at = 2, #found[2], 2 do
    -- A retry begins with its ping, and a ping with its id: a text of 32 bytes (msgpack: 0xd9 0x20).
    local body = found[2][at]
    local _, last = string.find(string.sub(body, 1, 8), '\\217 ', 1, true)
    if last and redis.call('ZSCORE', KEYS[3], string.sub(body, last + 1, last + 32)) then
        due[#due + 1] = found[2][at - 1]
    end
end
if #due > 0 then redis.call('PERSIST', KEYS[2]) end  -- first, so that a full Redis accepts the rest
for _, name in ipairs(due) do redis.call('ZADD', KEYS[2], 'XX', 0, name) end
return {found[1], #due}
"""
)
"""Make the retries of cancelled pings due now; returns the next cursor and their number. The workers end such a retry
without a request."""

PRUNE: Final = Script(
    CHECKS
    + """
-- KEYS: cancelled, version, swept
-- ARGV: life of a cancellation s, age from which an id may leave s, number of ids to pass over, most ids
local life, age = seconds(ARGV[1]), natural(ARGV[2])
local first, most = natural(ARGV[3]), natural(ARGV[4])
local swept = redis.call('GET', KEYS[2]) == redis.call('GET', KEYS[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local upto = now + (life - age) * 1000
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto, 'LIMIT', first, most)
local gone = {}
for _, ping in ipairs(ids) do
    local index = #ping == 32 and tonumber(string.sub(ping, 29), 16)
    local receipt = '@RECEIPT@' .. string.sub(ping, 1, 28)
    local over = not index or tonumber(redis.call('ZSCORE', KEYS[1], ping)) < now
    if not over and fits(receipt, 'hash') then
        local open = redis.call('HGET', receipt, index .. ':open')
        over = (open or redis.call('HGET', receipt, 'base')) and stored(open) <= 0
    end
    if over then gone[#gone + 1] = ping end
end
if #gone > 0 then
    for _, ping in ipairs(gone) do redis.call('ZREM', KEYS[1], ping) end
    if redis.call('ZCARD', KEYS[1]) == 0 then
        redis.call('DEL', KEYS[2], KEYS[3])
    else
        local version = time[1] .. '.' .. time[2]
        redis.call('SET', KEYS[2], version, 'EX', life)
        if swept then redis.call('SET', KEYS[3], version, 'EX', life) end
    end
end
return {#ids, #gone}
""".replace("@RECEIPT@", keys.receipt(""))
)
"""Remove the ids of finished pings, and ids whose lifetime has ended; returns the numbers of examined and removed ids.

An id stays for `age` in any case. By then no worker delivers an entry whose lease it has lost.
"""
