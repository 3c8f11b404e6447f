"""Atomic steps of the queue, as Lua scripts with commands that both Redis 6.2 and Valkey have.

Each script uses keys of one hash tag. A script that may be repeated after a lost reply (settle, save, split) has
the same result after each run; a script that may not be repeated (append) leaves a marker, from which the caller
finds the outcome.

A Redis at its `maxmemory` refuses a script at its first command that may take memory, unless a command that takes
none has written before it. Therefore the scripts that add to the queue (append, split of broadcasts) begin with a
command that may take memory, and those that drain it (claim, settle, save, split of devices, due, trim,
quarantine) do not: a full Redis accepts no new pings, and delivers those that it has.

Schedules run by Redis' own clock (TIME), so that no gateway's clock moves them. If that clock itself is set back
or forward, the scripts bound the effect, as each of them describes.

Each script checks its arguments and the types of its keys before its first write (see `lua`).
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
        local digest, ping = string.match(used[i] or '', '^(%x+):(%x+)$')  -- nil: missing or damaged
        first = first or digest and KEYS[3 + i]
        outcomes[i] = not digest and '' or digest == string.match(ARGV[9 + i], '^%x*') and ping or 'conflict'
    end
    if first then
        local left = redis.call('PTTL', first)
        if left > 0 then redis.call('PEXPIRE', first, left) end  -- a write: WAIT refers to the last one
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
    if read and not read.err then  -- otherwise the group is missing; the next reader creates it
        local oldest = read[1][2][1]
        return {'done', entry, oldest[1] ~= entry and oldest or 'own'}
    end
end
return {'done', entry}
"""
)
"""Append one entry, unless its marker shows that it is there already or was cancelled, one of its idempotency keys
was used before, or the backlog is full. The entry and all of its keys are written, or nothing: `known` has for
each key the id of its first ping, `conflict` if that ping had another body, or '' if the key is free.

A consumer that has room leases the oldest unread entry in the same step: `own` if that is the new one.
"""

FENCE: Final = Script(
    CHECKS
    + """
-- KEYS: marker; ARGV: marker life s
local life = seconds(ARGV[1])
local known = redis.call('GET', KEYS[1])
if known then
    redis.call('EXPIRE', KEYS[1], life)  -- a write, since WAIT refers to this connection's last write
    return known
end
redis.call('SET', KEYS[1], 'void', 'EX', life)
return 'void'
"""
)
"""Find the outcome of an append whose reply was lost: the id of the entry, or `void`, after which the append can
never happen."""

SETTLE: Final = Script(
    CHECKS
    + """
-- KEYS: stream, stats, progress, later, later bodies, receipts, parked
-- ARGV: group, entry, the caller's steady ms, receipt life s, pings, bytes, then five lists, each begun by its
--       length: receipt fields (receipt key, field, value, is a counter), retries (name, due by the caller's
--       steady ms, body, lane or '',
--       deliveries), waiters (channel, ping, receipt key, counter field, record or ''), lanes with fewer parked
--       deliveries (lane, deliveries), reached chunks of users (key, chunk, key deleted with the last chunk)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local steady = whole(ARGV[3])
local life, pings, bytes = seconds(ARGV[4]), natural(ARGV[5]), natural(ARGV[6])
local held = redis.call('HMGET', KEYS[2], 'pings', 'bytes', 'receipt_bytes')

-- All lists are read twice: to check, and to write.
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
"""Settle a finished batch: remove it from its stream and write its receipts, retries and notifications, in one
step.

A second call (after a lease was taken over) changes nothing and returns 0. A retry is due after the difference
between the caller's two steady times, so that it is scheduled by Redis' clock alone.
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
redis.call('HDEL', KEYS[2], 'verdicts')  -- first, so that a full Redis accepts the rest (see the module's docstring)
redis.call('HSET', KEYS[2], 'verdicts', ARGV[5])
redis.call('EXPIRE', KEYS[2], life)
return 1
"""
)
"""Save the verdicts of a batch so far; returns 0 if it is settled, -1 if another consumer has it now."""

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
"""Renew the leases of these entries; returns those that another consumer has now, or that are settled."""

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
"""Set the idle time of a consumer's oldest thousand leases, so that they can be taken over; returns their number."""

_SPLIT: Final = (
    CHECKS
    + """
-- KEYS: stream, progress, chunks, receipt, receipts; ARGV begins with: entry, cursor before, cursor after

-- Whether the entry is settled or another worker did this step; otherwise the types of the keys are checked.
-- `none`: the cursor before the first step.
local function is_split(none)
    if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return true end
    if (redis.call('HGET', KEYS[2], 'cursor') or none) ~= ARGV[2] then return true end
    redis.call('XLEN', KEYS[3])
    redis.call('HLEN', KEYS[4])
    redis.call('ZCARD', KEYS[5])
    return false
end

-- Append the chunks, which begin at argument `first`, to their stream, advance the cursor, and add the number of chunks
-- and `more` to the open chunks in `field` of the receipt. Returns the number of chunks on the stream.
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
-- KEYS: broadcasts, progress, chunks, receipt, receipts
-- ARGV: entry, cursor before, cursor after, life s, now ms, receipt life s, then chunks
natural(ARGV[2])
natural(ARGV[3])
local now, life, receipt_life = whole(ARGV[5]), seconds(ARGV[4]), seconds(ARGV[6])
if is_split('0') then return -1 end
-- One more than the chunks, until the splitting itself is settled.
return split(7, '0:open', ARGV[2] == '0' and 1 or 0, now, life, receipt_life)
"""
)
"""Append the next chunks of a broadcast and advance its cursor; -1 if another worker did this step."""

SPLIT_DEVICES: Final = Script(
    _SPLIT
    + """
-- KEYS: stream, progress, chunks, receipt, receipts
-- ARGV: entry, cursor before or '', cursor after, life s, now ms, receipt life s, field of the open chunks,
--       number to add beside these chunks, then chunks
local now = whole(ARGV[5])
local life, receipt_life, more = seconds(ARGV[4]), seconds(ARGV[6]), natural(ARGV[8])
if is_split('') then return -1 end
redis.call('PERSIST', KEYS[3])  -- first, so that a full Redis accepts the rest (see the module's docstring)
return split(9, ARGV[7], more, now, life, receipt_life)
"""
)
"""Append chunks of a ping's devices and advance the cursor; -1 if another worker did this step."""

CLAIM: Final = Script(
    CHECKS
    + """
-- KEYS: devices; ARGV: chunk, life s, then digests
local life = seconds(ARGV[2])
redis.call('HLEN', KEYS[1])
redis.call('EXPIRE', KEYS[1], life)  -- first, so that a full Redis accepts the rest (see the module's docstring)
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
"""Claim devices of a broadcast for a chunk: 1 for each device that no other chunk has. A repeat replies the same."""

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
        redis.call('ZREM', KEYS[1], all[at])  -- first, so that a full Redis accepts the rest
        redis.call('ZADD', KEYS[1], all[at + 1] + jump, all[at])
    end
end
if jump ~= 0 or now - last >= drift / 2 or last == now then
    redis.call('HDEL', KEYS[4], 'clock')  -- first, so that a full Redis accepts the rest
    redis.call('HSET', KEYS[4], 'clock', now)
end
if room <= 0 then return {0, now} end
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, room)
if #names == 0 then return {0, now} end
redis.call('PERSIST', KEYS[1])  -- first, so that a full Redis accepts the rest (see the module's docstring)
for _, name in ipairs(names) do
    -- A name without a body is quarantined by its reader, so that it does not disappear without a record.
    local body = redis.call('HGET', KEYS[2], name)
    redis.call('XADD', KEYS[3], '*', 'e', body or '', 'n', 0, 's', 0, unpack(body and {} or {'name', name}))
    redis.call('ZREM', KEYS[1], name)
    redis.call('HDEL', KEYS[2], name)
end
return {#names, now}
"""
)
"""Move due retries to their stream, up to the limit of its length; returns their number, and TIME in ms.

If Redis' clock was set back since the last call, the schedule moves back with it, so that no retry waits longer than
planned. If the clock was set forward, the retries that would become due immediately move forward with it. The time that
the caller expects distinguishes such a jump from a period without gateways. A retry that was scheduled between the jump
and this call never waits longer either; after a jump back it may be due immediately.
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
    local size = redis.pcall('HGET', oldest[1], 'size')  -- a key of another type has no size
    size = type(size) == 'string' and math.max(0, stored(size)) or 0
    if redis.call('EXISTS', oldest[1]) == 0 then  -- its size is lost with it: assume the average
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
"""Delete receipts that are too old, and the oldest if all together are too large. A receipt with a time in the future
counts as written now."""

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
"""Set the renewal time of leases to now if it is in the future, after Redis' clock was set back. Each lease stays with
its consumer. Returns the id to continue from; '' if the search is complete.

Otherwise the leases of a stopped consumer would not expire before the clock reaches that time again.
"""
