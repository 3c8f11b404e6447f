"""The atomic steps of a Resque worker, as Lua: only commands that Redis 6.2 and Valkey both have.

Resque's keys have no hash tag, so these scripts need a server of their own or a Sentinel's, not a cluster: as
RhoConnect's layout does (contract §7).
"""

from typing import Final

from gateway.store.link import Script

TAKE: Final = Script("""
-- KEYS: pause, taken, takers, then the lists of the queues
-- ARGV: gateway, prefix of recovery ids, most jobs, most bytes, how deep to look,
--       number of our classes, classes, then the names of the queues
if redis.call('GET', KEYS[1]) == 'true' then return {} end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
local most, room, depth = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local classes, names = {}, 6 + ARGV[6]
for at = 7, names do classes[ARGV[at]] = true end

-- Ours, or readable by nobody: then it is ours to say so.
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
    local place = 0
    while place < depth and #taken < most * 2 and room > 0 do
        local item = redis.call('LINDEX', list, place)
        if not item then return end
        if ours(item) then
            -- Equal items are the same job: whichever of them goes, the order of the rest stays.
            if place == 0 then redis.call('LPOP', list) else redis.call('LREM', list, 1, item) end
            local id = string.format('%s%04x', ARGV[2], #taken / 2)
            redis.call('HSET', KEYS[2], id, name .. string.char(0) .. item)
            taken[#taken + 1] = id
            taken[#taken + 1] = name .. string.char(0) .. item
            room = room - #item
        else
            place = place + 1
        end
    end
end
for at = 4, #KEYS do from(KEYS[at], ARGV[names + at - 3]) end
return taken
""")
"""Take our jobs from the heads of the queues, in the queues' order, onto this gateway's recovery list.

Foreign jobs stay where they are; so many of them may stand before one of ours as `how deep to look` says.
"""

ADMIT: Final = Script("""
-- KEYS: taken, stream, stats of the queue, processed, processed of the worker
-- ARGV: pings, bytes, limit of pings, limit of bytes, entry, then the recovery ids
for at = 6, #ARGV do
    if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then return {'gone', ARGV[at]} end
end
local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
local pings, bytes = (tonumber(held[1]) or 0) + ARGV[1], (tonumber(held[2]) or 0) + ARGV[2]
if pings > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) then return {'full', ''} end
local entry = redis.call('XADD', KEYS[2], '*', 'e', ARGV[5], 'n', ARGV[1], 's', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'pings', ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[2])
redis.call('HDEL', KEYS[1], unpack(ARGV, 6))
redis.call('INCRBY', KEYS[4], #ARGV - 5)
redis.call('INCRBY', KEYS[5], #ARGV - 5)
return {'done', entry}
""")
"""Jobs become durable pings: they enter the queue, leave the recovery list and are counted, in one step.

Said twice after a lost reply, it finds them gone and changes nothing.
"""

FINISH: Final = Script("""
-- KEYS: taken, processed, processed of the worker, failed list, failed, failed of the worker
-- ARGV: recovery id, record of a failure or ''
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('INCR', KEYS[2])
redis.call('INCR', KEYS[3])
if ARGV[2] ~= '' then
    redis.call('RPUSH', KEYS[4], ARGV[2])
    redis.call('INCR', KEYS[5])
    redis.call('INCR', KEYS[6])
end
return 1
""")
"""A job is done, or has failed with a record: it leaves the recovery list and is counted, in one step."""

INHERIT: Final = Script("""
-- KEYS: takers, then the own recovery list
-- ARGV: gateway, how long a gateway may be silent ms, prefix of the lists, how far clocks may drift ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + ARGV[4]), '+inf')) do
    redis.call('ZADD', KEYS[1], now, other)  -- its sign is of before Redis' clock was set back
end
local moved = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])) do
    if other ~= ARGV[1] then
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
""")
"""Take over the recovery lists of gateways that gave no sign of life, and give one; how many jobs came so."""
