"""Atomic operations of the RhoConnect Push service, as Lua scripts with commands that both Redis 6.2 and Valkey
have.

The names of some keys come from stored values (a token names its instance), so these scripts need a plain Redis or
one with Sentinels, not a cluster; so does RhoConnect's layout (contract §7).

An id never decreases: a device that remembers a higher id from an earlier registration would acknowledge messages
that it never received. A counter that is missing, or is 0, begins at `first`, which grows with the time and is below
2^31 until 2088. Two rules keep the counter above the ids that a device remembers if there were more messages than
seconds:

- The end of a registration keeps a counter that is ahead of `first`, until `first` has overtaken it.
- A poll that acknowledges a higher id, while no message is queued, raises the counter to it: the device remembers
  the id from a lost counter, or from another instance.
"""

from typing import Final

from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

COUNTER_EPOCH_S: Final = 1_577_836_800
"""Counters begin with the seconds since 2020-01-01: a message a second, all year, would not overtake them."""

SKEW_S: Final = 60
"""Largest difference between the clocks of gateways: a counter that is ahead is kept for this time after `first`
overtook it."""
AHEAD_MAX: Final = 2**24
"""A counter that is further ahead than this is damaged: it would be half a year of a message a second."""
RAISED_MAX: Final = 2**31 - AHEAD_MAX
"""Highest id to which a poll raises a counter: Windows devices hold ids of 31 bits."""

CORRUPT: Final = -1
"""Reply for one entry of a script call: a key of this instance or token has another type, and nothing was changed
for it."""

_COMMON: Final = (
    CHECKS
    + f"""
local REG, TOK, CNT = '{keys.MAILBOX_REGISTRATIONS}', '{keys.MAILBOX_INSTANCE_OF}', '{keys.MAILBOX_COUNTER}'
local QUE, COL = '{keys.MAILBOX_QUEUE}', '{keys.MAILBOX_COLLAPSE}'

-- Whether all keys of an instance have their types, so that no step of these scripts can fail.
local function sound(instance)
    return fits(REG .. instance, 'set') and fits(CNT .. instance, 'string')
        and fits(QUE .. instance, 'zset') and fits(COL .. instance, 'zset')
end

-- Token and app of a registration's member; nil if it is not a valid one.
local function read(member)
    local fine, entry = pcall(cjson.decode, member)
    if not fine or type(entry) ~= 'table' or type(entry.token) ~= 'string' then return nil, nil end
    return entry.token, entry.appname
end

local function prolong(instance, life)
    for _, kind in ipairs({{REG, CNT, QUE, COL}}) do redis.call('EXPIRE', kind .. instance, life) end
    for _, member in ipairs(redis.call('SMEMBERS', REG .. instance)) do
        local token = read(member)
        if token then redis.call('EXPIRE', TOK .. token, life) end
    end
end

local function renew(instance, life, fresh)
    if redis.call('TTL', REG .. instance) < fresh then prolong(instance, life) end
end

local function find(instance, app)
    local members = redis.call('SMEMBERS', REG .. instance)
    for _, member in ipairs(members) do
        local token, name = read(member)
        if token and name == app then return token, member, #members end
    end
    return nil, nil, #members
end

local function is_of_another(token, registrant, presumed)
    if registrant == '' then return false end
    local registered_by = string.match(token, '^%x+%-%x+%-8%x+%-%x+%-(%x+):')
    if registered_by then return registered_by ~= registrant end
    return not presumed
end

local function top(instance)
    local highest = redis.call('ZREVRANGE', QUE .. instance, 0, 0, 'WITHSCORES')
    return tonumber(highest[2]) or 0
end
"""
)

ENDING: Final = f"""
local function check_registration(token)
    local instance = redis.call('GET', '{keys.MAILBOX_INSTANCE_OF}' .. token)
    if not instance then return end
    redis.call('SCARD', '{keys.MAILBOX_REGISTRATIONS}' .. instance)
    redis.call('ZCARD', '{keys.MAILBOX_QUEUE}' .. instance)
    redis.call('ZCARD', '{keys.MAILBOX_COLLAPSE}' .. instance)
end

local function drop_messages(token, instance)
    instance = instance or redis.call('GET', '{keys.MAILBOX_INSTANCE_OF}' .. token)
    if not instance then return end
    local que, col = '{keys.MAILBOX_QUEUE}' .. instance, '{keys.MAILBOX_COLLAPSE}' .. instance
    local own = '"token":"' .. token .. '"'
    for _, message in ipairs(redis.call('ZRANGE', que, 0, -1)) do
        if string.find(string.sub(message, 1, 200), own, 1, true) then
            local id = redis.call('ZSCORE', que, message)
            redis.call('ZREM', que, message)
            redis.call('ZREMRANGEBYSCORE', col, id, id)
        end
    end
end

local function end_counter(instance, first)
    local key = '{keys.MAILBOX_COUNTER}' .. instance
    local found = redis.pcall('GET', key)
    local ahead = (type(found) == 'string' and tonumber(found) or 0) - first
    if ahead > 0 and ahead < {AHEAD_MAX} then
        redis.call('EXPIRE', key, string.format('%d', ahead + {SKEW_S}))
    else
        redis.call('DEL', key)
    end
end

local function end_registration(token, channel, first, instance)
    instance = instance or redis.call('GET', '{keys.MAILBOX_INSTANCE_OF}' .. token)
    if not instance then return end
    local reg, rest = '{keys.MAILBOX_REGISTRATIONS}' .. instance, 0
    local own = {{}}
    for _, member in ipairs(redis.call('SMEMBERS', reg)) do
        local fine, entry = pcall(cjson.decode, member)
        if fine and type(entry) == 'table' and entry.token == token then own[#own + 1] = member else rest = rest + 1 end
    end
    drop_messages(token, instance)
    redis.call('DEL', '{keys.MAILBOX_INSTANCE_OF}' .. token)
    if rest > 0 then
        for _, member in ipairs(own) do redis.call('SREM', reg, member) end
        return
    end
    redis.call('DEL', reg)
    end_counter(instance, first)
    redis.call('DEL', '{keys.MAILBOX_QUEUE}' .. instance, '{keys.MAILBOX_COLLAPSE}' .. instance)
    redis.pcall('PUBLISH', channel, 'g\\n' .. instance)
end
"""
"""Lua functions for these scripts: drop the messages that wait for a token, end the registration of a token, and,
before the first write, fail if a key of the two has another type.

Unregistered tokens are skipped. The end of the last registration of an instance removes all its keys, except for a
counter that is ahead of the first id that a new one would begin with, and is published to a waiting poll.
"""

ENQUEUE: Final = Script(
    _COMMON
    + """
-- ARGV: life s, fresh s, most messages of an instance, first id, channel, then for each message:
--       token, app or '', data, collapse id or '', name of the message or ''
local life, fresh, most, first = seconds(ARGV[1]), natural(ARGV[2]), natural(ARGV[3]), natural(ARGV[4])
if most == 0 or #ARGV < 5 or #ARGV % 5 ~= 0 then missing('a part of a message') end
local ids, wake = {}, {'m'}

local function app_of(instance, token)
    local start = '{"token":"' .. token .. '","appname":"'
    for _, member in ipairs(redis.call('SMEMBERS', REG .. instance)) do
        if string.sub(member, 1, #start) == start then
            if not string.find(member, '\\\\', 1, true) then return string.sub(member, #start + 1, -3) end
            local _, app = read(member)
            return type(app) == 'string' and app or ''
        end
    end
    return ''
end

local function next_id(instance)
    -- A damaged counter begins like a missing one.
    local id = is_whole(redis.call('GET', CNT .. instance) or '0') and redis.call('INCR', CNT .. instance) or 0
    if id > 1 then return id end
    id = math.max(first, top(instance) + 1)
    redis.call('SET', CNT .. instance, string.format('%d', id), 'EX', life)
    return id
end

local function put(instance, token, app, data, collapse, name)
    local que, col = QUE .. instance, COL .. instance
    if app == '' then app = app_of(instance, token) end
    local mark = nil
    if collapse ~= '' then mark = collapse .. ':' .. app
    elseif name ~= '' then mark = '~' .. name .. ':' .. app end
    local old = mark and redis.call('ZSCORE', col, mark)
    if old then
        -- A repeat after a lost reply: with a new id, a device that has fetched the message would get it twice.
        local own = name ~= '' and redis.call('ZSCORE', col, '~' .. name .. ':' .. app)
        if collapse == '' or own == old then return tonumber(old) end
        redis.call('ZREMRANGEBYSCORE', que, old, old)
        redis.call('ZREMRANGEBYSCORE', col, old, old)
    end
    local id = next_id(instance)
    local text = string.format('%d', id)
    local message = '{"id":' .. text .. ',"token":"' .. token .. '","data":' .. data .. '}'
    redis.call('ZADD', que, text, message)
    redis.call('ZADD', col, text, mark or ('~' .. text .. ':' .. app))
    if collapse ~= '' and name ~= '' then redis.call('ZADD', col, text, '~' .. name .. ':' .. app) end
    local held = redis.call('ZCARD', que)
    if held == 1 then
        redis.call('EXPIRE', que, life)
        redis.call('EXPIRE', col, life)
        wake[#wake + 1] = instance
        wake[#wake + 1] = message
    elseif held > most then
        redis.call('ZREMRANGEBYRANK', que, 0, held - most - 1)
        local lowest = redis.call('ZRANGE', que, 0, 0, 'WITHSCORES')
        redis.call('ZREMRANGEBYSCORE', col, '-inf', '(' .. lowest[2])
    end
    return id
end

for at = 6, #ARGV, 5 do
    local registered = fits(TOK .. ARGV[at], 'string')
    local instance = registered and redis.call('GET', TOK .. ARGV[at])
    if not registered or (instance and not sound(instance)) then
        ids[#ids + 1] = -1
    elseif instance then
        ids[#ids + 1] = put(instance, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
        renew(instance, life, fresh)
    else
        ids[#ids + 1] = 0
    end
end
if #wake > 1 then redis.pcall('PUBLISH', ARGV[5], table.concat(wake, '\\n')) end
return ids
"""
)
"""Queue messages; the reply has the id of each, 0 for a token that is not registered, or `CORRUPT`.

A collapse replaces the queued message by a message with a new id, so that an acknowledgement of the old message does
not cover the new one. A message of the same name is queued once, and keeps its id. If the queue of an instance is full,
its oldest messages are dropped, since newer pushes describe the present state.

Only the first message of an empty queue is published: no poll waits while messages are queued.
"""

WITHDRAW: Final = Script(
    _COMMON
    + """
-- ARGV: number of names, names of messages, then instances
local last, names, withdrawn = 1 + natural(ARGV[1]), {}, 0
if last > #ARGV then missing('a name') end
for at = 2, last do names[ARGV[at]] = true end
for at = last + 1, #ARGV do
    local que, col = QUE .. ARGV[at], COL .. ARGV[at]
    if sound(ARGV[at]) then
        for _, mark in ipairs(redis.call('ZRANGE', col, 0, -1)) do
            local name = string.match(mark, '^~(%x+):')
            local id = name and names[name] and redis.call('ZSCORE', col, mark)
            if id then
                withdrawn = withdrawn + redis.call('ZREMRANGEBYSCORE', que, id, id)
                redis.call('ZREMRANGEBYSCORE', col, id, id)
            end
        end
    end
end
return withdrawn
"""
)
"""Remove the waiting messages with these names from the queues of these instances: how many. A device that has fetched
a message and not acknowledged it may have shown it."""

POLL: Final = Script(
    _COMMON
    + """
-- ARGV: life s, fresh s, channel, name of this process, then instance and last id of each poll
local life, fresh = seconds(ARGV[1]), natural(ARGV[2])
if not ARGV[4] or #ARGV % 2 ~= 0 then missing('the last id of a poll') end
local found, taken = {}, {'t', ARGV[4]}
local RAISED_MAX = """
    + str(RAISED_MAX)
    + """

local function acknowledge(instance, last)
    local counter = stored(redis.call('GET', CNT .. instance))
    if last > counter and last > top(instance) then return end
    redis.call('ZREMRANGEBYSCORE', QUE .. instance, '-inf', last)
    redis.call('ZREMRANGEBYSCORE', COL .. instance, '-inf', last)
end

-- Redis may refuse this write temporarily; then a later poll raises the counter.
local function raise(instance, last)
    if last > stored(redis.call('GET', CNT .. instance)) and last <= RAISED_MAX then
        redis.pcall('SET', CNT .. instance, string.format('%d', last), 'EX', life)
    end
end

for at = 5, #ARGV, 2 do
    local instance, last = ARGV[at], stored(ARGV[at + 1])  -- what is no id acknowledges nothing
    if redis.call('EXISTS', REG .. instance) == 0 then
        found[#found + 1] = 0
    elseif not sound(instance) then
        found[#found + 1] = -1
    else
        if last > 0 then acknowledge(instance, last) end
        local lowest = redis.call('ZRANGE', QUE .. instance, 0, 0)
        if not lowest[1] then raise(instance, last) end
        renew(instance, life, fresh)
        found[#found + 1] = lowest[1] or ''
        if not lowest[1] then taken[#taken + 1] = instance end
    end
end
if #taken > 2 then redis.pcall('PUBLISH', ARGV[3], table.concat(taken, '\\n')) end
return found
"""
)
"""Acknowledge and read; the reply has for each poll 0 (not registered), '' (no message), its lowest message or
`CORRUPT`.

An id above the counter (and above every queued message) acknowledges no message: the device remembers it from
another counter. If no message is queued, the counter is raised to it. The script publishes the polls that wait now,
so that other processes answer older polls of the same instance.
"""

REGISTER: Final = Script(
    _COMMON
    + ENDING
    + """
-- ARGV: life s, most apps of an instance, first id, instance, app, new token, new member, registrant or '',
--       1 if the instance was made for this user
local life, most, first, instance = seconds(ARGV[1]), natural(ARGV[2]), natural(ARGV[3]), ARGV[4]
if not ARGV[9] then missing('whose the instance is') end
if not sound(instance) then error('WRONGTYPE a key of this instance is of another type') end
local token, member, apps = find(instance, ARGV[5])
if token and is_of_another(token, ARGV[8], ARGV[9] == '1') then
    drop_messages(token, instance)
    redis.call('DEL', TOK .. token)
    redis.call('SREM', REG .. instance, member)
    token, apps = nil, apps - 1
end
if not token then
    if apps >= most then return false end
    token = ARGV[6]
    redis.call('SADD', REG .. instance, ARGV[7])
end
redis.call('SET', TOK .. token, instance)
local counter = redis.call('GET', CNT .. instance)
if not counter then redis.call('SET', CNT .. instance, string.format('%d', first)) end
prolong(instance, life)
return token
"""
)
"""Register an app; the reply is its token, the old one if it is registered, or nil if the instance has too many
apps.

If another user registered the app before, that registration ends with its waiting messages, and the token is a new
one: a message for the earlier user must not reach the device of the present user. A token contains its registrant
(`ids.Ids.token`); a token without one, such as a token of rhoconnect-push, counts as registered by the user for whom
the instance was made.
"""

LOOK_UP: Final = Script(
    _COMMON
    + """
-- ARGV: life s, instance, app, registrant or ''
local life = seconds(ARGV[1])
if not ARGV[4] then missing('the registrant') end
local token = find(ARGV[2], ARGV[3])
if not token or is_of_another(token, ARGV[4], true) then return false end
redis.call('SET', TOK .. token, ARGV[2])
prolong(ARGV[2], life)
return token
"""
)
"""Read the token of a registered app and extend its lifetime; nil if there is none or another user registered it."""

UNREGISTER: Final = Script(
    _COMMON
    + ENDING
    + """
-- ARGV: channel, first id, instance, app
local first, instance = natural(ARGV[2]), ARGV[3]
if not ARGV[4] then missing('the app') end
if not sound(instance) then error('WRONGTYPE a key of this instance is of another type') end
local token = find(instance, ARGV[4])
if not token then return 0 end
end_registration(token, ARGV[1], first, instance)
return 1
"""
)
"""End an app's registration; 0 if there is none. The end of the last one removes all keys of the instance."""

END_TOKENS: Final = Script(
    CHECKS
    + ENDING
    + """
-- ARGV: channel, first id, count of tokens whose registrations end, those, tokens whose waiting messages are dropped
local first, ending = natural(ARGV[2]), natural(ARGV[3])
for at = 4, #ARGV do check_registration(ARGV[at]) end
for at = 4, #ARGV do
    if at < 4 + ending then end_registration(ARGV[at], ARGV[1], first) else drop_messages(ARGV[at]) end
end
return #ARGV - 3
"""
)
"""Update registrations and messages when a client's owner changes (`client_scripts.REGISTER`)."""

END_INSTANCE: Final = Script(
    _COMMON
    + ENDING
    + """
-- ARGV: first id, instance
local first, instance = natural(ARGV[1]), ARGV[2]
if not instance then missing('the instance') end
local members = redis.call('SMEMBERS', REG .. instance)
if #members == 0 then return 0 end
for _, member in ipairs(members) do
    local token = read(member)
    if token then redis.call('DEL', TOK .. token) end
end
for _, kind in ipairs({REG, QUE, COL}) do redis.call('DEL', kind .. instance) end
end_counter(instance, first)
return 1
"""
)
"""End all registrations of an instance; 0 if there are none. A waiting poll is not answered (contract §9)."""
