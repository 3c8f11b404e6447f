"""The atomic steps of the queue, as Lua: only commands that Redis 6.2 and Valkey both have.

Each script touches keys of one hash tag. What may be repeated after a lost reply (settle, save, cut) gives
the same end however often it runs; what may not (append) leaves a marker by which the caller finds out.

A Redis at its `maxmemory` refuses a script at its first command that may take memory, unless one that takes none
has written before it. So what adds to the queue (append, cut) begins with one that may, and what drains it
(claim, settle, save, due, trim) does not: a full Redis takes no new pings, and delivers those that it has.
"""

from typing import Final

from gateway.store.link import Script

APPEND: Final = Script("""
-- KEYS: stream, marker, stats, [idempotency]
-- ARGV: pings, bytes, limit of pings, limit of bytes, marker life s, entry, group, consumer or '',
--       [body digest, ping id, idempotency life s]
local known = redis.call('GET', KEYS[2])
if known then
    return {known == 'void' and 'void' or 'done', known}
end
if KEYS[4] then
    local before = redis.call('GET', KEYS[4])
    if before then
        redis.call('PEXPIRE', KEYS[4], redis.call('PTTL', KEYS[4]))  -- a write: WAIT looks at this connection's last
        local digest, ping = string.match(before, '^(%x+):(%x+)$')
        return {digest == ARGV[9] and 'repeated' or 'conflict', ping}
    end
end
local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
local pings, bytes = (tonumber(held[1]) or 0) + ARGV[1], (tonumber(held[2]) or 0) + ARGV[2]
if pings > tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) then
    return {'full', held[1]}
end
local entry = redis.call('XADD', KEYS[1], '*', 'e', ARGV[6], 'n', ARGV[1], 's', ARGV[2])
redis.call('HINCRBY', KEYS[3], 'pings', ARGV[1])
redis.call('HINCRBY', KEYS[3], 'bytes', ARGV[2])
redis.call('SET', KEYS[2], entry, 'EX', ARGV[5])
if KEYS[4] then
    redis.call('SET', KEYS[4], ARGV[9] .. ':' .. ARGV[10], 'EX', ARGV[11])
end
if ARGV[8] ~= '' then
    local read = redis.pcall('XREADGROUP', 'GROUP', ARGV[7], ARGV[8], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
    if read and not read.err then  -- else the group is missing: whoever reads makes it
        local oldest = read[1][2][1]
        return {'done', entry, oldest[1] ~= entry and oldest or 'own'}
    end
end
return {'done', entry}
""")
"""Append one entry, unless its marker says that it is there already or was given up, or the backlog is full.

A consumer that has room leases the oldest entry that nobody has read, in the same step: `own` where that is the new
one.
"""

FENCE: Final = Script("""
-- KEYS: marker; ARGV: marker life s
local known = redis.call('GET', KEYS[1])
if known then
    redis.call('EXPIRE', KEYS[1], ARGV[1])  -- a write: WAIT looks at this connection's last
    return known
end
redis.call('SET', KEYS[1], 'void', 'EX', ARGV[1])
return 'void'
""")
"""What became of an append whose reply was lost: the entry, or `void`, after which it can never happen any more."""

SETTLE: Final = Script("""
-- KEYS: stream, stats, progress, later, later bodies, receipts, parked
-- ARGV: group, entry, now ms, receipt life s, pings, bytes, then five lists, each begun by its length:
--       receipt fields (receipt key, field, value, is a counter), pieces (name, due ms, body, lane or '',
--       sends), waiters (channel, ping, receipt key, counter field, record or ''), lanes leaving LATER (lane,
--       sends), chunks of users that were reached (key, chunk, key that goes with the last)
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
if ARGV[5] ~= '0' then
    redis.call('HINCRBY', KEYS[2], 'pings', -ARGV[5])
    redis.call('HINCRBY', KEYS[2], 'bytes', -ARGV[6])
end
redis.call('DEL', KEYS[3])
local at = 7
local size = 0
for _ = 1, ARGV[at] do
    local key, field, value = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if ARGV[at + 4] == '1' then
        redis.call('HINCRBY', key, field, value)
    else
        redis.call('HSET', key, field, value)
        redis.call('HINCRBY', key, 'size', #value)
        size = size + #value
    end
    redis.call('EXPIRE', key, ARGV[4])
    redis.call('ZADD', KEYS[6], 'NX', ARGV[3], key)
    at = at + 4
end
at = at + 1
if size > 0 then redis.call('HINCRBY', KEYS[2], 'receipt_bytes', size) end
for _ = 1, ARGV[at] do
    redis.call('ZADD', KEYS[4], ARGV[at + 2], ARGV[at + 1])
    redis.call('HSET', KEYS[5], ARGV[at + 1], ARGV[at + 3])
    if ARGV[at + 4] ~= '' then redis.call('HINCRBY', KEYS[7], ARGV[at + 4], ARGV[at + 5]) end
    at = at + 5
end
at = at + 1
for _ = 1, ARGV[at] do
    local open = tonumber(redis.call('HGET', ARGV[at + 3], ARGV[at + 4]) or '0')
    if open <= 0 then redis.pcall('PUBLISH', ARGV[at + 1], ARGV[at + 2] .. ARGV[at + 5]) end
    at = at + 5
end
at = at + 1
for _ = 1, ARGV[at] do
    local left = redis.call('HINCRBY', KEYS[7], ARGV[at + 1], -ARGV[at + 2])
    if left <= 0 then redis.call('HDEL', KEYS[7], ARGV[at + 1]) end
    at = at + 2
end
at = at + 1
for _ = 1, ARGV[at] do
    redis.call('HDEL', ARGV[at + 1], ARGV[at + 2])
    if redis.call('EXISTS', ARGV[at + 1]) == 0 then redis.call('UNLINK', ARGV[at + 3]) end
    at = at + 3
end
return 1
""")
"""Take a finished unit off its stream: its receipts, its sends that come later and its waiters, in one step.

Whoever comes second (a lease that was taken over) changes nothing and gets 0.
"""

SAVE: Final = Script("""
-- KEYS: stream, progress; ARGV: group, consumer, entry, life s, verdicts
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #held == 0 then return 0 end
if held[1][2] ~= ARGV[2] then return -1 end
redis.call('DEL', KEYS[2])  -- first, so that a full Redis takes the rest (see the module's docstring)
redis.call('HSET', KEYS[2], 'verdicts', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
""")
"""Keep the verdicts that a unit has so far; 0 where it is settled, -1 where another consumer has it now."""

RENEW: Final = Script("""
-- KEYS: stream; ARGV: group, consumer, then entries
local lost, kept = {}, {}
for i = 3, #ARGV do
    local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)
    local names = #held > 0 and held[1][2] == ARGV[2] and kept or lost
    names[#names + 1] = ARGV[i]
end
if #kept > 0 then
    kept[#kept + 1] = 'JUSTID'
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(kept))
end
return lost
""")
"""Keep the leases of these entries; those that another consumer has now, or has settled."""

RELEASE: Final = Script("""
-- KEYS: stream; ARGV: group, consumer, idle ms
local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
if #held == 0 then return 0 end
local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
for _, one in ipairs(held) do claim[#claim + 1] = one[1] end
claim[#claim + 1] = 'IDLE'
claim[#claim + 1] = ARGV[3]
claim[#claim + 1] = 'JUSTID'
redis.call(unpack(claim))
return #held
""")
"""Let a consumer's leases, the oldest thousand, look as if it had been silent for so long; their number."""

CUT: Final = Script("""
-- KEYS: broadcasts, progress, pieces, receipt, receipts
-- ARGV: entry, cursor before, cursor after, life s, now ms, receipt life s, then pieces
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return -1 end
if (redis.call('HGET', KEYS[2], 'cursor') or '0') ~= ARGV[2] then return -1 end
redis.call('HSET', KEYS[2], 'cursor', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
-- One more than the pieces, until the cutting itself is settled.
redis.call('HINCRBY', KEYS[4], '0:open', #ARGV - 6 + (ARGV[2] == '0' and 1 or 0))
redis.call('EXPIRE', KEYS[4], ARGV[6])
redis.call('ZADD', KEYS[5], 'NX', ARGV[5], KEYS[4])
for i = 7, #ARGV do
    redis.call('XADD', KEYS[3], '*', 'e', ARGV[i], 'n', 0, 's', 0)
end
return redis.call('XLEN', KEYS[3])
""")
"""Cut the next pieces off a broadcast and advance its cursor; -1 where another worker already has."""

CLAIM: Final = Script("""
-- KEYS: phones; ARGV: chunk, life s, then digests
redis.call('EXPIRE', KEYS[1], ARGV[2])  -- first, so that a full Redis takes the rest (see the module's docstring)
local mine = {}
for first = 3, #ARGV, 1000 do
    local last = math.min(first + 999, #ARGV)
    local known, fresh = redis.call('HMGET', KEYS[1], unpack(ARGV, first, last)), {}
    for i = 1, last - first + 1 do
        mine[#mine + 1] = (not known[i] or known[i] == ARGV[1]) and 1 or 0
        if not known[i] then
            fresh[#fresh + 1] = ARGV[first + i - 1]
            fresh[#fresh + 1] = ARGV[1]
        end
    end
    if #fresh > 0 then redis.call('HSET', KEYS[1], unpack(fresh)) end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return mine
""")
"""Which phones of a broadcast this chunk reaches: those that no other does. Asked again, it says the same."""

DUE: Final = Script("""
-- KEYS: later, later bodies, retries; ARGV: now ms, at most on the stream
local room = ARGV[2] - redis.call('XLEN', KEYS[3])
if room <= 0 then return 0 end
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, room)
for _, name in ipairs(names) do
    redis.call('ZREM', KEYS[1], name)
    local body = redis.call('HGET', KEYS[2], name)
    if body then redis.call('XADD', KEYS[3], '*', 'e', body, 'n', 0, 's', 0) end
    redis.call('HDEL', KEYS[2], name)
end
return #names
""")
"""Put what is due back on its stream, as far as workers keep up with what is there."""

TRIM: Final = Script("""
-- KEYS: receipts, stats; ARGV: oldest ms to keep, bytes to keep, at most
local dropped = 0
while dropped < tonumber(ARGV[3]) do
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    if #oldest == 0 then
        redis.call('HDEL', KEYS[2], 'receipt_bytes')
        break
    end
    local bytes = tonumber(redis.call('HGET', KEYS[2], 'receipt_bytes') or '0')
    if tonumber(oldest[2]) >= tonumber(ARGV[1]) and bytes <= tonumber(ARGV[2]) then break end
    local size = tonumber(redis.call('HGET', oldest[1], 'size') or '0')
    if redis.call('EXISTS', oldest[1]) == 0 then  -- its size went with it: an average one
        size = math.floor(bytes / redis.call('ZCARD', KEYS[1]))
    end
    redis.call('ZREM', KEYS[1], oldest[1])
    redis.call('UNLINK', oldest[1])
    if size > 0 then redis.call('HINCRBY', KEYS[2], 'receipt_bytes', -size) end  -- Redis 7 takes no -0
    dropped = dropped + 1
end
return dropped
""")
"""Drop receipts that are too old, and the oldest where all together are too large."""
