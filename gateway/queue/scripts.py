"""The atomic steps of the queue, as Lua: only commands that Redis 6.2 and Valkey both have.

Each script touches keys of one hash tag. What may be repeated after a lost reply (settle, save, cut) gives
the same end however often it runs; what may not (append) leaves a marker by which the caller finds out.

A Redis at its `maxmemory` refuses a script at its first command that may take memory, unless one that takes none
has written before it. So what adds to the queue (append, cut) begins with one that may, and what drains it
(claim, settle, save, split, due, trim, put aside) does not: a full Redis takes no new pings, and delivers those that
it has.

Schedules run by Redis' own clock (TIME), so that no gateway's clock moves them. Where that clock itself is set back
or forward, the scripts bound the effect: each says how.

Each script checks what it was given and what the keys hold before its first write (see `lua`).
"""

from typing import Final

from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

APPEND_ONCE: Final = (
    CHECKS
    + """
-- KEYS: stream or schedule, marker, stats, then idempotency keys
-- ARGV: pings, bytes, limit of pings, limit of bytes, marker life s, entry, two more,
--       [idempotency life s, then for each idempotency key its value: body digest ':' ping id]
local more, size = natural(ARGV[1]), natural(ARGV[2])
local most_pings, most_bytes, life = natural(ARGV[3]), natural(ARGV[4]), seconds(ARGV[5])
if not ARGV[8] then missing('an argument') end
local keyed = #KEYS - 3
local once_life = keyed > 0 and seconds(ARGV[9])
if keyed > 0 and #ARGV ~= 9 + keyed then missing('the value of an idempotency key') end
local known = redis.call('GET', KEYS[2])
if known then
    return {known == 'void' and 'void' or 'done', known}
end
if keyed > 0 then
    local used, first, outcomes = redis.call('MGET', unpack(KEYS, 4)), nil, {}
    for i = 1, keyed do
        local digest, ping = string.match(used[i] or '', '^(%x+):(%x+)$')  -- else it is not there, or damaged
        first = first or digest and KEYS[3 + i]
        outcomes[i] = not digest and '' or digest == string.match(ARGV[9 + i], '^%x*') and ping or 'conflict'
    end
    if first then
        local left = redis.call('PTTL', first)
        if left > 0 then redis.call('PEXPIRE', first, left) end  -- a write: WAIT looks at this connection's last
        return {'known', outcomes}
    end
end
"""
)
"""The beginning of a script that appends: returns where the append was done or given up before, or a key was used."""

APPEND: Final = Script(
    APPEND_ONCE
    + """
-- ARGV[7]: group; ARGV[8]: consumer or ''
local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
local pings, bytes = stored(held[1]) + more, stored(held[2]) + size
if pings > most_pings or bytes > most_bytes then
    return {'full', held[1] or '0'}
end
local entry = redis.call('XADD', KEYS[1], '*', 'e', ARGV[6], 'n', more, 's', size)
redis.call('HSET', KEYS[3], 'pings', count(pings), 'bytes', count(bytes))
redis.call('SET', KEYS[2], entry, 'EX', life)
for i = 1, keyed do
    redis.call('SET', KEYS[3 + i], ARGV[9 + i], 'EX', once_life)
end
if ARGV[8] ~= '' then
    local read = redis.pcall('XREADGROUP', 'GROUP', ARGV[7], ARGV[8], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
    if read and not read.err then  -- else the group is missing: whoever reads makes it
        local oldest = read[1][2][1]
        return {'done', entry, oldest[1] ~= entry and oldest or 'own'}
    end
end
return {'done', entry}
"""
)
"""Append one entry, unless its marker says that it is there already or was given up, an idempotency key of it was used
before, or the backlog is full. The entry and all of its keys are written, or nothing: `known` gives for each key the
id of its first ping, `conflict` where that had another body, or '' where the key is free.

A consumer that has room leases the oldest entry that nobody has read, in the same step: `own` where that is the new
one.
"""

FENCE: Final = Script(
    CHECKS
    + """
-- KEYS: marker; ARGV: marker life s
local life = seconds(ARGV[1])
local known = redis.call('GET', KEYS[1])
if known then
    redis.call('EXPIRE', KEYS[1], life)  -- a write: WAIT looks at this connection's last
    return known
end
redis.call('SET', KEYS[1], 'void', 'EX', life)
return 'void'
"""
)
"""What became of an append whose reply was lost: the entry, or `void`, after which it can never happen any more."""

SETTLE: Final = Script(
    CHECKS
    + """
-- KEYS: stream, stats, progress, later, later bodies, receipts, parked
-- ARGV: group, entry, the caller's steady ms, receipt life s, pings, bytes, then five lists, each begun by its
--       length: receipt fields (receipt key, field, value, is a counter), pieces (name, due by the caller's
--       steady ms, body, lane or '',
--       sends), waiters (channel, ping, receipt key, counter field, record or ''), lanes leaving LATER (lane,
--       sends), chunks of users that were reached (key, chunk, key that goes with the last)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local steady = whole(ARGV[3])
local life, pings, bytes = seconds(ARGV[4]), natural(ARGV[5]), natural(ARGV[6])
local held = redis.call('HMGET', KEYS[2], 'pings', 'bytes', 'receipt_bytes')

-- All lists are walked twice: to check, and to write.
local at, size, sizes = 7, 0, {}
for _ = 1, natural(ARGV[at]) do
    local key, value = ARGV[at + 1], ARGV[at + 3]
    if ARGV[at + 4] == '1' then
        whole(value)
        redis.call('HLEN', key)
    else
        sizes[key] = (sizes[key] or stored(redis.call('HGET', key, 'size'))) + #value
        size = size + #value
    end
    at = at + 4
end
if at > 7 then redis.call('ZCARD', KEYS[6]) end
at = at + 1
local retries = natural(ARGV[at])
if retries > 0 then
    redis.call('ZCARD', KEYS[4])
    redis.call('HLEN', KEYS[5])
end
for _ = 1, retries do
    whole(ARGV[at + 2])
    natural(ARGV[at + 5])
    at = at + 5
end
at = at + 1
for _ = 1, natural(ARGV[at]) do
    redis.call('HGET', ARGV[at + 3], ARGV[at + 4])
    at = at + 5
end
at = at + 1
local unparked = natural(ARGV[at])
for _ = 1, unparked do
    natural(ARGV[at + 2])
    at = at + 2
end
if retries + unparked > 0 then redis.call('HLEN', KEYS[7]) end
at = at + 1
for _ = 1, natural(ARGV[at]) do
    redis.call('HLEN', ARGV[at + 1])
    whole(ARGV[at + 2])
    at = at + 3
end
if at ~= #ARGV then missing('a list, or its length,') end

redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if redis.call('XDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
if pings > 0 or bytes > 0 or size > 0 then
    redis.call(
        'HSET', KEYS[2],
        'pings', count(stored(held[1]) - pings),
        'bytes', count(stored(held[2]) - bytes),
        'receipt_bytes', count(stored(held[3]) + size)
    )
end
redis.call('DEL', KEYS[3])
at = 7
for _ = 1, ARGV[at] do
    local key, field, value = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    if ARGV[at + 4] == '1' then
        add(key, field, value)
    else
        redis.call('HSET', key, field, value, 'size', count(sizes[key]))
    end
    redis.call('EXPIRE', key, life)
    redis.call('ZADD', KEYS[6], 'NX', now, key)
    at = at + 4
end
at = at + 1
if retries > 0 then redis.call('HSETNX', KEYS[2], 'clock', now) end
for _ = 1, ARGV[at] do
    redis.call('ZADD', KEYS[4], now + whole(ARGV[at + 2]) - steady, ARGV[at + 1])
    redis.call('HSET', KEYS[5], ARGV[at + 1], ARGV[at + 3])
    if ARGV[at + 4] ~= '' then add(KEYS[7], ARGV[at + 4], ARGV[at + 5]) end
    at = at + 5
end
at = at + 1
for _ = 1, ARGV[at] do
    local open = stored(redis.call('HGET', ARGV[at + 3], ARGV[at + 4]))
    if open <= 0 then redis.pcall('PUBLISH', ARGV[at + 1], ARGV[at + 2] .. ARGV[at + 5]) end
    at = at + 5
end
at = at + 1
for _ = 1, ARGV[at] do
    local left = add(KEYS[7], ARGV[at + 1], -ARGV[at + 2])
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
"""
)
"""Take a finished unit off its stream: its receipts, its sends that come later and its waiters, in one step.

Whoever comes second (a lease that was taken over) changes nothing and gets 0. A piece is due after the delay between
the caller's two steady instants, so that it is scheduled by Redis' clock alone.
"""

SAVE: Final = Script(
    CHECKS
    + """
-- KEYS: stream, progress; ARGV: group, consumer, entry, life s, verdicts
local life = seconds(ARGV[4])
if not ARGV[5] then missing('the verdicts') end
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #held == 0 then return 0 end
if held[1][2] ~= ARGV[2] then return -1 end
if not fits(KEYS[2], 'hash') then redis.call('DEL', KEYS[2]) end
redis.call('HDEL', KEYS[2], 'verdicts')  -- first, so that a full Redis takes the rest (see the module's docstring)
redis.call('HSET', KEYS[2], 'verdicts', ARGV[5])
redis.call('EXPIRE', KEYS[2], life)
return 1
"""
)
"""Keep the verdicts that a unit has so far; 0 where it is settled, -1 where another consumer has it now."""

RENEW: Final = Script(
    CHECKS
    + """
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
"""
)
"""Keep the leases of these entries; those that another consumer has now, or has settled."""

RELEASE: Final = Script(
    CHECKS
    + """
-- KEYS: stream; ARGV: group, consumer, idle ms
local idle = natural(ARGV[3])
local held = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
if #held == 0 then return 0 end
local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
for _, one in ipairs(held) do claim[#claim + 1] = one[1] end
claim[#claim + 1] = 'IDLE'
claim[#claim + 1] = idle
claim[#claim + 1] = 'JUSTID'
redis.call(unpack(claim))
return #held
"""
)
"""Let a consumer's leases, the oldest thousand, look as if it had been silent for so long; their number."""

_SPLIT: Final = (
    CHECKS
    + """
-- KEYS: stream, progress, chunks, receipt, receipts; ARGV begins with: entry, cursor before, cursor after

-- Whether the entry is settled, or another worker did this step; else the types of the keys are checked.
-- `none`: the cursor before the first step.
local function is_split(none)
    if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return true end
    if (redis.call('HGET', KEYS[2], 'cursor') or none) ~= ARGV[2] then return true end
    redis.call('XLEN', KEYS[3])
    redis.call('HLEN', KEYS[4])
    redis.call('ZCARD', KEYS[5])
    return false
end

-- Put the chunks from this argument on on their stream, advance the cursor, and count the chunks, and `more`, as still
-- to come in `field` of the receipt. Gives how many chunks wait on the stream.
local function split(first, field, more, now, life, receipt_life)
    for i = first, #ARGV do
        redis.call('XADD', KEYS[3], '*', 'e', ARGV[i], 'n', 0, 's', 0)
    end
    redis.call('HSET', KEYS[2], 'cursor', ARGV[3])
    redis.call('EXPIRE', KEYS[2], life)
    add(KEYS[4], field, #ARGV - first + 1 + more)
    redis.call('EXPIRE', KEYS[4], receipt_life)
    redis.call('ZADD', KEYS[5], 'NX', now, KEYS[4])
    return redis.call('XLEN', KEYS[3])
end
"""
)

SPLIT_USERS: Final = Script(
    _SPLIT
    + """
-- KEYS: broadcasts, progress, pieces, receipt, receipts
-- ARGV: entry, cursor before, cursor after, life s, now ms, receipt life s, then pieces
natural(ARGV[2])
natural(ARGV[3])
local now, life, receipt_life = whole(ARGV[5]), seconds(ARGV[4]), seconds(ARGV[6])
if is_split('0') then return -1 end
-- One more than the pieces, until the cutting itself is settled.
return split(7, '0:open', ARGV[2] == '0' and 1 or 0, now, life, receipt_life)
"""
)
"""Cut the next pieces off a broadcast and advance its cursor; -1 where another worker already has."""

SPLIT_DEVICES: Final = Script(
    _SPLIT
    + """
-- KEYS: stream, progress, pieces, receipt, receipts
-- ARGV: entry, cursor before or '', cursor after, life s, now ms, receipt life s, field of the pieces to come,
--       how many more than these pieces, then pieces
local now = whole(ARGV[5])
local life, receipt_life, more = seconds(ARGV[4]), seconds(ARGV[6]), natural(ARGV[8])
if is_split('') then return -1 end
redis.call('PERSIST', KEYS[3])  -- first, so that a full Redis takes the rest (see the module's docstring)
return split(9, ARGV[7], more, now, life, receipt_life)
"""
)
"""Put some of a ping's devices on the stream of pieces and advance the cursor; -1 where another worker has."""

CLAIM: Final = Script(
    CHECKS
    + """
-- KEYS: phones; ARGV: chunk, life s, then digests
local life = seconds(ARGV[2])
redis.call('HLEN', KEYS[1])
redis.call('EXPIRE', KEYS[1], life)  -- first, so that a full Redis takes the rest (see the module's docstring)
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
redis.call('EXPIRE', KEYS[1], life)
return mine
"""
)
"""Which phones of a broadcast this chunk reaches: those that no other does. Asked again, it says the same."""

RELEASE_DUE: Final = Script(
    CHECKS
    + """
-- KEYS: later, later bodies, retries, stats; ARGV: at most on the stream, TIME ms as the caller expects it, how far
--       clocks may drift ms
local most, expected, drift = natural(ARGV[1]), whole(ARGV[2]), natural(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room = most - redis.call('XLEN', KEYS[3])
redis.call('HLEN', KEYS[2])
local known = redis.call('HGET', KEYS[4], 'clock')
if redis.call('ZCARD', KEYS[1]) == 0 then
    if known then redis.call('HDEL', KEYS[4], 'clock') end
    return {0, now}
end
local last = known and stored(known) or now
local jump, upto = 0, '+inf'
if now < last - drift then
    jump = now - last
elseif now > math.max(last, expected) + drift then
    jump, upto = now - math.max(last, expected), now - drift
end
if jump ~= 0 then
    local all = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto, 'WITHSCORES')
    for at = 1, #all, 2 do
        redis.call('ZREM', KEYS[1], all[at])  -- first, so that a full Redis takes the rest
        redis.call('ZADD', KEYS[1], all[at + 1] + jump, all[at])
    end
end
if jump ~= 0 or now - last >= drift / 2 or last == now then
    redis.call('HDEL', KEYS[4], 'clock')  -- first, so that a full Redis takes the rest
    redis.call('HSET', KEYS[4], 'clock', now)
end
if room <= 0 then return {0, now} end
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, room)
if #names == 0 then return {0, now} end
redis.call('PERSIST', KEYS[1])  -- first, so that a full Redis takes the rest (see the module's docstring)
for _, name in ipairs(names) do
    -- A name without a piece is put aside by whoever reads it; it must not vanish unseen.
    local body = redis.call('HGET', KEYS[2], name)
    redis.call('XADD', KEYS[3], '*', 'e', body or '', 'n', 0, 's', 0, unpack(body and {} or {'name', name}))
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
end
return {#names, now}
"""
)
"""Put what is due back on its stream, as far as workers keep up with what is there: how many, and TIME in ms.

Where Redis' clock was set back since the last call, the schedule moves back with it, so that no piece waits longer
than it was meant to. Where the clock was set forward, what would be due at once moves forward with it. Only a caller
that has seen the time before can tell that from a time without gateways: by what it expects. A piece that was scheduled
between the jump and this call never waits longer either; after a jump back it may come at once.
"""

TRIM: Final = Script(
    CHECKS
    + """
-- KEYS: receipts, stats; ARGV: age to keep ms, bytes to keep, at most, how far clocks may drift ms
local age, most_bytes = whole(ARGV[1]), natural(ARGV[2])
local most, drift = natural(ARGV[3]), natural(ARGV[4])
local bytes = stored(redis.call('HGET', KEYS[2], 'receipt_bytes'))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ahead = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now + drift), '+inf', 'LIMIT', 0, most)
for _, key in ipairs(ahead) do  -- written before Redis' clock was set back
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZADD', KEYS[1], now, key)
end
local dropped = 0
while dropped < most do
    local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
    if #oldest == 0 then
        redis.call('HDEL', KEYS[2], 'receipt_bytes')
        break
    end
    if tonumber(oldest[2]) >= now - age and bytes <= most_bytes then break end
    local size = redis.pcall('HGET', oldest[1], 'size')  -- a key of another type has none
    size = type(size) == 'string' and math.max(0, stored(size)) or 0
    if redis.call('EXISTS', oldest[1]) == 0 then  -- its size went with it: an average one
        size = math.floor(bytes / redis.call('ZCARD', KEYS[1]))
    end
    redis.call('ZREM', KEYS[1], oldest[1])
    if string.sub(oldest[1], 1, #'@RECEIPT@') == '@RECEIPT@' then redis.call('UNLINK', oldest[1]) end
    bytes = math.max(0, bytes - size)
    if size > 0 then redis.call('HSET', KEYS[2], 'receipt_bytes', count(bytes)) end
    dropped = dropped + 1
end
return dropped
""".replace("@RECEIPT@", keys.receipt(""))
)
"""Drop receipts that are too old, and the oldest where all together are too large. One of the future counts as
written now."""

FIX_FUTURE_LEASES: Final = Script(
    CHECKS
    + """
-- KEYS: stream; ARGV: group, from, at most
local most = natural(ARGV[3])
local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], '+', ARGV[3])
for _, one in ipairs(held) do
    if one[3] <= 0 then redis.call('XCLAIM', KEYS[1], ARGV[1], one[2], 0, one[1], 'IDLE', 0, 'JUSTID') end
end
return #held < most and '' or '(' .. held[#held][1]
"""
)
"""Let leases that were last renewed in the future, since Redis' clock was set back, look as if they had been renewed
now. Each stays with its consumer. Gives where to go on; '': that was all.

Without this, the leases of a consumer that has gone would wait for the clock to reach that future.
"""
