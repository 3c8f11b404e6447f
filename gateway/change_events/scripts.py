"""Lua scripts of change events, with commands that both Redis 6.2 and Valkey have; each is one atomic step.

The scripts use the clock of Redis, so that all gateways agree on the end of a window. All keys have the queue's hash
tag.
"""

from typing import Final

from gateway.queue import entry_template
from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

_COMMON: Final = (
    CHECKS
    + f"""
local WINDOW, PUSHED, CHANGE = '{keys.WINDOW}', '{keys.PUSHED}', '{keys.CHANGE_ID}'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%d', number) end

-- A stored instant; nil if the value is not one.
local function instant(value)
    local at = tonumber(value)
    return at and at >= 0 and at <= 9007199254740992 and at or nil
end
"""
)

WRITE_CHANGES: Final = Script(
    _COMMON
    + """
-- KEYS: windows
-- ARGV: window ms, interval ms, id life s, then for each change:
--       id or '', source, whether it is bounded ('1'), number of users, users
local window, interval, life = natural(ARGV[1]), natural(ARGV[2]), seconds(ARGV[3])

-- The window of a user begins with its first change and is never extended: a change that waits longer does not
-- delay the others.
local function soon(user)
    local due = instant(redis.call('ZSCORE', KEYS[1], user) or '')
    return due and math.min(now + window, due) or now + window
end

-- A rate-limited change waits until its source had no push for the interval, and until the user had at most one
-- push in it.
local function bounded(user, source)
    local pushed = redis.call('HMGET', PUSHED .. user, '=' .. source, 'before')
    local last, before = instant(pushed[1] or '') or 0, instant(pushed[2] or '') or 0
    -- A push in the future was recorded before Redis' clock was set back: it counts as a push of now.
    return math.max(soon(user), math.min(now, last) + interval, math.min(now, before) + interval)
end

-- All keys are checked before the first write. A user whose keys have another type is left out: the changes of all
-- other users are stored.
redis.call('ZCARD', KEYS[1])
local left_out, at, refused = {}, 4, 0
while at <= #ARGV do
    local users = natural(ARGV[at + 3])
    if at + 3 + users > #ARGV then missing('a user') end
    for index = at + 4, at + 3 + users do
        local user = ARGV[index]
        local pushed = ARGV[at + 2] ~= '1' or fits(PUSHED .. user, 'hash')
        if not pushed or not fits(WINDOW .. user, 'zset') then
            left_out[user] = true
            refused = refused + 1
        end
    end
    at = at + 4 + users
end

local known = 0
at = 4
while at <= #ARGV do
    local id, source, users = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 3])
    local first, last = at + 4, at + 3 + users
    if id ~= '' and not redis.call('SET', CHANGE .. id, '1', 'NX', 'EX', life) then
        known = known + 1
    else
        for index = first, last do
            local user = ARGV[index]
            if not left_out[user] then
                local due = text(ARGV[at + 2] == '1' and bounded(user, source) or soon(user))
                redis.call('ZADD', WINDOW .. user, 'LT', due, source)
                redis.call('ZADD', KEYS[1], 'LT', due, user)
            end
        end
    end
    at = last + 1
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {known, next[2] and math.max(0, next[2] - now) or -1, refused}
"""
)
"""Store received changes in the windows of their users.

Returns the number of changes whose id was already stored, the ms until the next window ends (-1: none is open), and the
number of users that were left out because one of their keys has another type.
The call may be repeated after a lost reply: a change without an id then belongs to the same window, or to one more.
"""

CLOSE_WINDOWS: Final = Script(
    _COMMON
    + entry_template.LUA
    + """
-- KEYS: windows, stream, stats
-- ARGV: the five parts of an entry (`queue.entry_template.EntryTemplate`), bytes that a ping counts, most pings,
--       limit of pings, limit of bytes, life of what was pushed ms, longest window ms
local function upto(most)
    local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, most)
    local users = {}
    for index = 1, #due, 2 do users[#users + 1] = due[index] end
    return users
end

-- Whether a text is UTF-8. One that is not would make the whole entry unreadable, with the pings of other users.
local function is_utf8(text)
    if not string.find(text, '[\\128-\\255]') then return true end
    local at = 1
    while at <= #text do
        local first, second = string.byte(text, at, at + 1)
        local more = first < 128 and 0 or first < 194 and -1 or first < 224 and 1 or first < 240 and 2
            or first < 245 and 3 or -1
        if more < 0 or at + more > #text then return false end
        for next = at + 1, at + more do
            local byte = string.byte(text, next)
            if byte < 128 or byte > 191 then return false end
        end
        if first == 224 and second < 160 or first == 237 and second > 159
            or first == 240 and second < 144 or first == 244 and second > 143 then
            return false
        end
        at = at + 1 + more
    end
    return true
end

local function pushed(user, sources, life)
    local key = PUSHED .. user
    if not fits(key, 'hash') then redis.call('DEL', key) end
    local last = redis.call('HGET', key, 'last')
    if last then redis.call('HSET', key, 'before', last) end
    redis.call('HSET', key, 'last', text(now))
    for _, source in ipairs(sources) do redis.call('HSET', key, '=' .. source, text(now)) end
    redis.call('PEXPIRE', key, life)
end

local each, most, life = natural(ARGV[6]), natural(ARGV[7]), natural(ARGV[10])
local most_pings, most_bytes = natural(ARGV[8]), natural(ARGV[9])
local latest = text(now + natural(ARGV[11]))
local parts = entry_parts(1)
local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
redis.call('XLEN', KEYS[2])
-- A due time beyond the longest window was stored before Redis' clock was set back: the window is due now.
for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. latest, '+inf', 'LIMIT', 0, most)) do
    redis.call('ZREM', KEYS[1], user)
    redis.call('ZADD', KEYS[1], text(now), user)
end
local room = math.min(
    most_pings - stored(held[1]),
    math.floor((most_bytes - stored(held[2])) / math.max(1, each))
)
local users = room > 0 and upto(math.min(room, most)) or {}
local pings, refused = {}, 0
for _, user in ipairs(users) do
    local window = WINDOW .. user
    if not fits(window, 'zset') then redis.call('DEL', window) end  -- a damaged window must not keep the others open
    local sources = redis.call('ZRANGEBYSCORE', window, '-inf', text(now))
    redis.call('ZREMRANGEBYSCORE', window, '-inf', text(now))
    for _, source in ipairs(redis.call('ZRANGEBYSCORE', window, '(' .. latest, '+inf')) do
        sources[#sources + 1] = source
    end
    redis.call('ZREMRANGEBYSCORE', window, '(' .. latest, '+inf')
    local rest = redis.call('ZRANGE', window, 0, 0, 'WITHSCORES')
    if rest[2] then redis.call('ZADD', KEYS[1], rest[2], user) else redis.call('ZREM', KEYS[1], user) end
    local readable = {}
    for _, source in ipairs(sources) do
        if is_utf8(source) then readable[#readable + 1] = source else refused = refused + 1 end
    end
    if #readable > 0 and not is_utf8(user) then
        readable, refused = {}, refused + 1
    end
    sources = readable
    if #sources > 0 then
        pings[#pings + 1] = pack_ping(parts, {user}, sources)
        if life > 0 then pushed(user, sources, life) end
    end
end
if #pings > 0 then
    local size = text(#pings * each)
    append_entry(KEYS[2], parts, pings, size)
    add(KEYS[3], 'pings', #pings)
    add(KEYS[3], 'bytes', size)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#pings, next[2] and math.max(0, next[2] - now) or -1, room > 0 and 1 or 0, refused}
"""
)
"""Make one ping of each window that has ended, and append the pings as one entry.

Returns the number of pings, the ms until the next window ends (-1: none is open), 0 if the backlog is full (windows
then stay open), and the number of users and sources that were left out because they are not UTF-8. A window is removed
in the same step in which its ping is appended, so that no second gateway makes a ping of it.
"""

HOLD_LEASE: Final = Script(
    _COMMON
    + """
-- KEYS: events; ARGV: name, lease ms, mark or '', ms for which it has been subscribed, grace ms
local lease, subscribed, grace = natural(ARGV[2]), natural(ARGV[4]), natural(ARGV[5])
local held = redis.call('HMGET', KEYS[1], 'holder', 'until', 'heard', 'mark')
if held[2] and stored(held[2]) > now + lease then  -- stored before Redis' clock was set back
    held[2] = text(now + lease)
    redis.call('HSET', KEYS[1], 'until', held[2])
end
local heard = instant(held[3] or '')
local silent = heard and math.max(0, now - heard)

local function may()
    if not held[1] and not silent then return true end
    if held[1] == ARGV[1] then return true end
    if held[1] and (instant(held[2] or '') or 0) > now then return false end
    if not silent or subscribed >= silent then return true end
    -- No known gateway has received all changes: among those that ask, prefer the one with the longest reception.
    local free, since = silent - (held[1] and lease or 0), now - subscribed
    local best = redis.call('HMGET', KEYS[1], 'since', 'by')
    local oldest = instant(best[1] or '')
    if not oldest or since < oldest then
        redis.call('HSET', KEYS[1], 'since', text(since), 'by', ARGV[1])
        best[2] = ARGV[1]
    end
    return free > 2 * grace or (free > grace and best[2] == ARGV[1])
end

local holds = may()
if holds then
    redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', text(now + lease), 'heard', text(now))
    redis.call('HDEL', KEYS[1], 'since', 'by')
    if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'mark', ARGV[3]) end
end
return {holds and 1 or 0, silent or -1, held[4] or ''}
"""
)
"""Keep or take the lease of the gateway that stores changes, and record the mark up to which all changes are stored.

A free lease goes to a gateway that has been subscribed since before the lease was last held: only such a gateway has
the changes that the last holder may not have stored. If no such gateway asks within the grace period, the lease goes to
the longest subscribed one of those that asked; if that one does not ask within another grace period, to any gateway.

Returns 1 if this gateway holds the lease now, the ms since the lease was last held (-1: never), and the newest mark up
to which all changes are stored.
"""

RELEASE_LEASE: Final = Script("""
-- KEYS: events; ARGV: name
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'holder', 'until')
""")
"""Release the lease."""
