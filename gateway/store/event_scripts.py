"""The atomic steps of data changes, as Lua: only commands that Redis 6.2 and Valkey both have.

The clock is Redis' own, so that gateways agree when a window is over. All keys carry the queue's hash tag.
"""

from typing import Final

from gateway.store import keys
from gateway.store.link import Script

_COMMON: Final = f"""
local WINDOW, PUSHED, CHANGE = '{keys.WINDOW}', '{keys.PUSHED}', '{keys.CHANGE_ID}'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%d', number) end
"""

HEAR: Final = Script(
    _COMMON
    + """
-- KEYS: windows
-- ARGV: window ms, interval ms, id life s, then for each change:
--       id or '', source, whether it is bounded ('1'), number of users, users
local window, interval = tonumber(ARGV[1]), tonumber(ARGV[2])

-- The window of a user begins with its first change and never extends; what waits for longer does not keep
-- the rest back.
local function soon(user)
    local due = tonumber(redis.call('ZSCORE', KEYS[1], user) or 'inf')
    return math.min(now + window, due)
end

-- A bounded change waits until its source was quiet for the interval, and until the user had at most one push
-- in it.
local function bounded(user, source)
    local pushed = redis.call('HMGET', PUSHED .. user, '=' .. source, 'before')
    local last, before = tonumber(pushed[1]) or 0, tonumber(pushed[2]) or 0
    -- A push of the future is of before Redis' clock was set back: it counts as one of now.
    return math.max(soon(user), math.min(now, last) + interval, math.min(now, before) + interval)
end

local at, known = 4, 0
while at <= #ARGV do
    local id, source, users = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 3])
    local first, last = at + 4, at + 3 + users
    if id ~= '' and not redis.call('SET', CHANGE .. id, '1', 'NX', 'EX', ARGV[3]) then
        known = known + 1
    else
        for place = first, last do
            local user = ARGV[place]
            local due = text(ARGV[at + 2] == '1' and bounded(user, source) or soon(user))
            redis.call('ZADD', WINDOW .. user, 'LT', due, source)
            redis.call('ZADD', KEYS[1], 'LT', due, user)
        end
    end
    at = last + 1
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {known, next[2] and math.max(0, next[2] - now) or -1}
"""
)
"""Write down what was heard, before anything else is done with it.

Gives how many changes were known by their id, and in how many ms the next window is over (-1: none is open).
May be repeated after a lost reply: a change without an id then belongs to the same window, or to one more.
"""

CLOSE: Final = Script(
    _COMMON
    + """
-- KEYS: windows, stream, stats
-- ARGV: head of the entry, what stands before the users of a ping, between users and sources, and behind,
--       bytes that a ping counts, most pings, limit of pings, limit of bytes, life of what was pushed ms,
--       longest window ms
-- What is due later than it can be is of before Redis' clock was set back: it is due now.
local latest = text(now + ARGV[10])
for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. latest, '+inf', 'LIMIT', 0, ARGV[6])) do
    redis.call('ZREM', KEYS[1], user)
    redis.call('ZADD', KEYS[1], text(now), user)
end

local function upto(most)
    local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, most)
    local users = {}
    for place = 1, #due, 2 do users[#users + 1] = due[place] end
    return users
end

local function pushed(user, sources, life)
    local key = PUSHED .. user
    local last = redis.call('HGET', key, 'last')
    if last then redis.call('HSET', key, 'before', last) end
    redis.call('HSET', key, 'last', text(now))
    for _, source in ipairs(sources) do redis.call('HSET', key, '=' .. source, text(now)) end
    redis.call('PEXPIRE', key, life)
end

local held = redis.call('HMGET', KEYS[3], 'pings', 'bytes')
local room = math.min(
    tonumber(ARGV[7]) - (tonumber(held[1]) or 0),
    math.floor((tonumber(ARGV[8]) - (tonumber(held[2]) or 0)) / ARGV[5])
)
local users = room > 0 and upto(math.min(room, tonumber(ARGV[6]))) or {}
local pings = {}
for _, user in ipairs(users) do
    local window = WINDOW .. user
    local sources = redis.call('ZRANGEBYSCORE', window, '-inf', text(now))
    redis.call('ZREMRANGEBYSCORE', window, '-inf', text(now))
    for _, source in ipairs(redis.call('ZRANGEBYSCORE', window, '(' .. latest, '+inf')) do
        sources[#sources + 1] = source
    end
    redis.call('ZREMRANGEBYSCORE', window, '(' .. latest, '+inf')
    local rest = redis.call('ZRANGE', window, 0, 0, 'WITHSCORES')
    if rest[2] then redis.call('ZADD', KEYS[1], rest[2], user) else redis.call('ZREM', KEYS[1], user) end
    if #sources > 0 then
        pings[#pings + 1] = ARGV[2] .. cmsgpack.pack({user}) .. ARGV[3] .. cmsgpack.pack(sources) .. ARGV[4]
        if ARGV[9] ~= '0' then pushed(user, sources, ARGV[9]) end
    end
end
if #pings > 0 then
    local size = text(#pings * ARGV[5])
    local length = string.char(220, math.floor(#pings / 256), #pings % 256)
    local entry = ARGV[1] .. length .. table.concat(pings) .. string.char(0)
    redis.call('XADD', KEYS[2], '*', 'e', entry, 'n', #pings, 's', size)
    redis.call('HINCRBY', KEYS[3], 'pings', #pings)
    redis.call('HINCRBY', KEYS[3], 'bytes', size)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {#pings, next[2] and math.max(0, next[2] - now) or -1, room > 0 and 1 or 0}
"""
)
"""Make one ping of each window that is over, and append them together.

Gives how many, in how many ms the next window is over (-1: none is open), and 0 where the backlog is full:
windows then stay open. The window and its ping change in one step: whoever comes second finds nothing.
"""

BEAT: Final = Script(
    _COMMON
    + """
-- KEYS: events; ARGV: name, lease ms, mark or '', for how long it has listened ms, grace ms
local held = redis.call('HMGET', KEYS[1], 'holder', 'until', 'heard', 'mark')
if held[2] and tonumber(held[2]) > now + ARGV[2] then  -- of before Redis' clock was set back
    held[2] = text(now + ARGV[2])
    redis.call('HSET', KEYS[1], 'until', held[2])
end
local silent = held[3] and math.max(0, now - held[3])

local function may()
    if not held[1] and not silent then return true end
    if held[1] == ARGV[1] then return true end
    if held[1] and tonumber(held[2]) > now then return false end
    local listened, grace = tonumber(ARGV[4]), tonumber(ARGV[5])
    if listened >= silent then return true end
    -- Nobody known has heard everything: among those that ask, the one that has heard most.
    local free, since = silent - (held[1] and ARGV[2] or 0), now - listened
    local best = redis.call('HMGET', KEYS[1], 'since', 'by')
    if not best[1] or since < tonumber(best[1]) then
        redis.call('HSET', KEYS[1], 'since', text(since), 'by', ARGV[1])
        best[2] = ARGV[1]
    end
    return free > 2 * grace or (free > grace and best[2] == ARGV[1])
end

local holds = may()
if holds then
    redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', text(now + ARGV[2]), 'heard', text(now))
    redis.call('HDEL', KEYS[1], 'since', 'by')
    if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'mark', ARGV[3]) end
end
return {holds and 1 or 0, silent or -1, held[4] or ''}
"""
)
"""Hold or take the lease of the one gateway that writes down what is heard, and tell up to which mark.

A free lease goes to one that has listened since before it was last held, since only that one knows what its
holder may have left unwritten. When none such has come for the grace, it goes to the one that has listened longest
of those that asked; when that one does not come for the grace either, to whoever does.

Gives 1 where this gateway holds it now, how many ms ago it was last held (-1: never), and the newest mark up
to which everything is written down.
"""

YIELD: Final = Script("""
-- KEYS: events; ARGV: name
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
return redis.call('HDEL', KEYS[1], 'holder', 'until')
""")
"""Give the lease back."""
