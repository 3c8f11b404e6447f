"""Atomic operations of a Resque worker, as Lua scripts with commands that both Redis 6.2 and Valkey have.

Resque's keys have no hash tag, so these scripts need a plain Redis or one with Sentinels, not a cluster; so does
RhoConnect's layout (contract §7).
"""

from typing import Final

from gateway.store.connection import Script
from gateway.store.lua import CHECKS

TAKE: Final = Script(
    CHECKS
    + """
-- KEYS: pause, taken, takers, then the lists of the queues
-- ARGV: gateway, prefix of recovery ids, most jobs, most bytes, depth limit,
--       number of job classes, job classes, then the names of the queues
local most, room, depth = natural(ARGV[3]), natural(ARGV[4]), natural(ARGV[5])
local classes, names = {}, 6 + natural(ARGV[6])
if #ARGV ~= names + #KEYS - 3 then missing('the name of a queue') end
if fits(KEYS[1], 'string') and redis.call('GET', KEYS[1]) == 'true' then return {} end
local time = redis.call('TIME')
redis.call('HLEN', KEYS[2])
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
for at = 7, names do classes[ARGV[at]] = true end

-- A `PingJob`, or an unreadable item, which this worker must record as failed.
local function ours(item)
    for class in pairs(classes) do
        local head = '{"class":"' .. class .. '"'
        if string.sub(item, 1, #head) == head then return true end
    end
    local fine, job = pcall(cjson.decode, item)
    if not fine or type(job) ~= 'table' or type(job.class) ~= 'string' then return true end
    return classes[job.class] or false
end

local taken = {}
local function from(list, name)
    local index = 0
    while index < depth and #taken < most * 2 and room > 0 do
        local item = redis.call('LINDEX', list, index)
        if not item then return end
        if ours(item) then
            -- Equal items are the same job: the removal of any of them keeps the order of the others.
            if index == 0 then redis.call('LPOP', list) else redis.call('LREM', list, 1, item) end
            local id = string.format('%s%04x', ARGV[2], #taken / 2)
            redis.call('HSET', KEYS[2], id, name .. string.char(0) .. item)
            taken[#taken + 1] = id
            taken[#taken + 1] = name .. string.char(0) .. item
            room = room - #item
        else
            index = index + 1
        end
    end
end
for at = 4, #KEYS do
    -- A key of another type holds no jobs, and must not block the other queues.
    if fits(KEYS[at], 'list') then from(KEYS[at], ARGV[names + at - 3]) end
end
return taken
"""
)
"""Move `PingJob` jobs from the heads of the queues, in the queues' order, to this gateway's recovery list.

Jobs of other classes stay in their queues; at most `depth limit` of them may precede a job that is taken.
"""

_COUNTERS: Final = """
-- Resque's counters: a key of another type is left unchanged, and blocks nothing.
local function counted(key, more)
    if not fits(key, 'string') then return end
    local before = redis.call('GET', key)
    if not before or is_whole(before) then redis.call('INCRBY', key, more) end
end
"""

ADMIT: Final = Script(
    CHECKS
    + _COUNTERS
    + """
-- KEYS: taken, stream, stats of the queue, processed, processed of the worker
-- ARGV: pings, bytes, limit of pings, limit of bytes, entry, then the recovery ids
local more, size, most_pings, most_bytes = natural(ARGV[1]), natural(ARGV[2]), natural(ARGV[3]), natural(ARGV[4])
if not ARGV[6] then missing('a recovery id') end
for at = 6, #ARGV do
    if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then return {'gone', ARGV[at]} end
end
local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
local pings, bytes = stored(held[1]) + more, stored(held[2]) + size
if pings > most_pings or bytes > most_bytes then return {'full', ''} end
local entry = redis.call('XADD', KEYS[2], '*', 'e', ARGV[5], 'n', more, 's', size)
redis.call('HSET', KEYS[3], 'pings', count(pings), 'bytes', count(bytes))
redis.call('HDEL', KEYS[1], unpack(ARGV, 6))
counted(KEYS[4], #ARGV - 5)
counted(KEYS[5], #ARGV - 5)
return {'done', entry}
"""
)
"""Make jobs durable pings: they enter the queue, leave the recovery list and are counted, in one step.

A repetition after a lost reply finds the jobs gone and changes nothing.
"""

FINISH: Final = Script(
    CHECKS
    + _COUNTERS
    + """
-- KEYS: taken, processed, processed of the worker, failed list, failed, failed of the worker
-- ARGV: recovery id, record of a failure or ''
if not ARGV[2] then missing('the record') end
if ARGV[2] ~= '' then redis.call('LLEN', KEYS[4]) end
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
counted(KEYS[2], 1)
counted(KEYS[3], 1)
if ARGV[2] ~= '' then
    redis.call('RPUSH', KEYS[4], ARGV[2])
    counted(KEYS[5], 1)
    counted(KEYS[6], 1)
end
return 1
"""
)
"""Finish a job that is done or has failed with a record: it leaves the recovery list and is counted, in one step."""

TAKE_OVER: Final = Script(
    CHECKS
    + """
-- KEYS: takers, then this gateway's recovery list
-- ARGV: gateway, time without a heartbeat ms, prefix of the lists, clock drift ms
local silent, drift = natural(ARGV[2]), natural(ARGV[4])
redis.call('HLEN', KEYS[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + drift), '+inf')) do
    redis.call('ZADD', KEYS[1], now, other)  -- its sign is of before Redis' clock was set back
end
local moved = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - silent)) do
    if other ~= ARGV[1] and fits(ARGV[3] .. other, 'hash') then
        local jobs = redis.call('HGETALL', ARGV[3] .. other)
        for at = 1, #jobs, 2 do
            redis.call('HSET', KEYS[2], jobs[at], jobs[at + 1])
            moved = moved + 1
        end
        redis.call('DEL', ARGV[3] .. other)
        redis.call('ZREM', KEYS[1], other)
    end
end
return moved
"""
)
"""Record a heartbeat, and take over the recovery lists of gateways without one; the reply is the number of jobs."""
