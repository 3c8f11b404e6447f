"""Atomic steps of a device's registration, as Lua scripts with commands that both Redis 6.2 and Valkey have.

The names of the keys come from stored values (a client names its owner, a push token its clients), so these
scripts need a single server or Sentinel, not a cluster, as RhoConnect's layout does (contract §7).

Every read, and every write that a full Redis may refuse, comes before the first write that cannot be undone.
"""

from typing import Final

from gateway.mailbox.scripts import COUNTER_EPOCH_S, ENDING
from gateway.registry.token_marks import LEARNED_LUA
from gateway.store import keys
from gateway.store.connection import Script

FULL: Final = b"full"

DEVICE_FIELDS: Final = (
    "device_type",
    "device_push_type",
    "device_pin",
    "device_port",
    "phone_id",
    "device_app_id",
    "device_app_version",
)
"""Fields that a device sends about itself (contract §2.1)."""

_DEVICE_FIELDS: Final = "{" + ", ".join(f"'{name}'" for name in DEVICE_FIELDS) + "}"

REGISTER: Final = Script(
    ENDING
    + f"""
-- ARGV: 'write' or 'look', login, client, epoch ms, most clients of a user, channel of the push service,
--       1 if the client may have existed before, then name and text of each field
local looking, login, client, now = ARGV[1] == 'look', ARGV[2], ARGV[3], ARGV[4]
local function field(id, name) return '{keys.CLIENT_PREFIX}' .. id .. ':' .. name end
local function clients_of(user) return '{keys.USER_PREFIX}' .. user .. ':clients' end
local function holders(token) return '{keys.HOLDERS}' .. redis.sha1hex(token) end
local function text(id, name)
    local found = redis.pcall('GET', field(id, name))
    return type(found) == 'string' and found or ''
end

local brought, written = {{}}, {{}}
for at = 8, #ARGV, 2 do
    brought[ARGV[at]] = ARGV[at + 1]
    written[#written + 1] = field(client, ARGV[at])
    written[#written + 1] = ARGV[at + 1]
end
local token, app = brought['device_pin'], brought['device_app_id']

-- The stored state.
local owner, before = redis.call('GET', field(client, 'user_id')), text(client, 'device_pin')
local moved = owner and owner ~= login
if redis.call('SISMEMBER', clients_of(login), client) == 0
        and redis.call('SCARD', clients_of(login)) >= tonumber(ARGV[5]) then
    return {{'full', {{}}, {{}}}}
end
if moved then redis.call('SISMEMBER', clients_of(owner), client) end
local mark = redis.pcall('GET', '{keys.DEAD_PREFIX}' .. client)
local learned = type(mark) == 'string' and string.find(mark, '{LEARNED_LUA}')
if not app and not moved then app = text(client, 'device_app_id') end

-- Clients of other users with this token: the device belongs to this user now.
local losing, gone = {{}}, {{}}
if token and token ~= '' then
    for _, other in ipairs(redis.call('SMEMBERS', holders(token))) do
        if other ~= client then
            local others_app = text(other, 'device_app_id')
            if text(other, 'device_pin') ~= token then
                gone[#gone + 1] = other
            elseif text(other, 'user_id') ~= login
                    and (not app or app == '' or others_app == '' or others_app == app) then
                losing[#losing + 1] = other
                gone[#gone + 1] = other
            end
        end
    end
end
local ended, dropped = {{}}, {{}}
if moved and before ~= '' and before ~= token then ended[1] = before end
if #losing > 0 or (moved and before ~= '' and before == token) then dropped[1] = token end
if looking then return {{'registered', ended, dropped}} end
for _, lost in ipairs(ended) do check_registration(lost) end
for _, kept in ipairs(dropped) do check_registration(kept) end

-- A full Redis refuses this write, before anything is written.
redis.call('MSET', unpack(written))
local first = math.floor((tonumber(now) or 0) / 1000) - {COUNTER_EPOCH_S}
for _, lost in ipairs(ended) do end_registration(lost, ARGV[6], first) end
for _, kept in ipairs(dropped) do drop_messages(kept) end
if moved then
    for _, name in ipairs({_DEVICE_FIELDS}) do
        if brought[name] == nil then redis.call('DEL', field(client, name)) end
    end
    redis.call('SREM', clients_of(owner), client)
end
for _, other in ipairs(losing) do redis.call('DEL', field(other, 'device_pin')) end
for _, other in ipairs(gone) do redis.call('SREM', holders(token), other) end
redis.call('SADD', clients_of(login), client)
if not owner then redis.pcall('INCR', '{keys.count("client")}') end
if moved or not learned or (token and token ~= before) then redis.call('DEL', '{keys.DEAD_PREFIX}' .. client) end
redis.call('SET', '{keys.REGISTERED_PREFIX}' .. client, now, 'EX', {keys.DEAD_S})
if moved or (not owner and ARGV[7] == '1') then
    redis.call('SET', '{keys.OWNED_SINCE}' .. client, now, 'EX', {keys.OWNED_SINCE_S})
end
if before ~= '' and token and before ~= token then redis.pcall('SREM', holders(before), client) end
if token and token ~= '' then
    redis.call('SADD', holders(token), client)
    if redis.call('SCARD', holders(token)) > {keys.HOLDERS_MAX} then redis.call('SPOP', holders(token)) end
    redis.call('EXPIRE', holders(token), {keys.DEAD_S})
end
return {{'registered', ended, dropped}}
"""
)
"""Register a client. Returns `full` if the user has the maximum of devices, else `registered`, with the push
tokens whose RhoConnect Push registrations end and those whose waiting messages are dropped. The script does both;
the caller repeats it if the service has a separate Redis. With `look` nothing is written.

When the owner changes, the device's fields that the request does not have are deleted with the registration of the
old token. A token that another user's client registered is taken from that client, unless both name an app and the
apps differ: the device has a new user, and the earlier user's pings must not reach it.
"""

DELETE: Final = Script(
    ENDING
    + f"""
-- ARGV: client, the user who must own it or '', then the names of its fields
local client, login = ARGV[1], ARGV[2]
local owner = redis.pcall('GET', '{keys.CLIENT_PREFIX}' .. client .. ':user_id')
if login ~= '' and type(owner) == 'string' and owner ~= login then return '' end
-- A push token of another type is deleted like any other.
local found = redis.pcall('GET', '{keys.CLIENT_PREFIX}' .. client .. ':device_pin')
local token = type(found) == 'string' and found or ''
if token ~= '' then
    check_registration(token)
    drop_messages(token)
end
for at = 3, #ARGV do redis.call('DEL', '{keys.CLIENT_PREFIX}' .. client .. ':' .. ARGV[at]) end
redis.call('DEL', '{keys.DEAD_PREFIX}' .. client, '{keys.REGISTERED_PREFIX}' .. client)
return token
"""
)
"""Delete a client's fields and marks, and its waiting RhoConnect Push messages; returns its push token, or ''.

A client of another user than the named one is left unchanged."""
