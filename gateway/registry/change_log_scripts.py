"""Lua scripts of the change log; each is one atomic step.

Count, void and names are in one hash, so that they are created and deleted together. A log that was deleted or
evicted restarts with the server's clock, far above every earlier count. The two special fields begin with a NUL,
which no login does.
"""

from typing import Final

from gateway.registry.token_marks import LEARNED_LUA
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

COUNT: Final = "\0count"
"""Field: the count, which increases with each record."""
VOID: Final = "\0void"
"""Field: data that was read before this count is invalid."""

_PREPARE: Final = (
    CHECKS
    + r"""
-- KEYS: log. Restarts it; returns its count.
local function begin()
    local time = redis.call('TIME')
    local before = stored(redis.call('HGET', KEYS[1], '\0count'))
    local count = string.format('%.0f', math.max(time[1] * 1000000 + time[2], before + 1))
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], '\0count', count, '\0void', count)
    return count
end
"""
)

HEARTBEAT: Final = Script(
    _PREPARE
    + r"""
-- KEYS: log, listeners, this listener's last id; ARGV: name, a new unique id, its life s
local life, before = seconds(ARGV[3]), redis.call('GET', KEYS[3])
local stands = is_whole(redis.call('HGET', KEYS[1], '\0count'))
add(KEYS[2], ARGV[1], 1)
redis.call('SET', KEYS[3], ARGV[2], 'EX', life)
return {stands and '0' or begin(), before}
"""
)
"""Record a heartbeat of this listener. Returns the count from which on the log is valid if it had to be created,
else 0; and the id of this listener's last heartbeat in this database."""

RECORD_LAPSE: Final = Script(
    _PREPARE
    + """
-- KEYS: log, listeners; ARGV: name
redis.call('HLEN', KEYS[1])
add(KEYS[2], ARGV[1], 1)  -- first: a Redis that is too full for heartbeats must refuse this, too
redis.call('DEL', KEYS[2])
return begin()
"""
)
"""Record a lapse: everything before it is invalid. Returns the count from which on the log is valid."""

RECORD_CHANGES: Final = Script(
    _PREPARE
    + r"""
-- KEYS: log, marks of clients whose keys were written; ARGV: most names, then names that changed
local most, size = natural(ARGV[1]), redis.call('HLEN', KEYS[1])
local before = redis.call('HGET', KEYS[1], '\0count')
for at = 2, #KEYS do
    local mark = redis.pcall('GET', KEYS[at])
    if mark and not (type(mark) == 'string' and string.find(mark, '"""
    + LEARNED_LUA
    + r"""')) then
        redis.call('DEL', KEYS[at])
    end
end
if size == 0 or size + #ARGV > most or not is_whole(before) then return {begin(), 1} end
local count = string.format('%.0f', redis.call('HINCRBY', KEYS[1], '\0count', 1))
for i = 2, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], count) end
return {count, 0}
"""
)
"""Record changes: returns their count, and 1 if all earlier counts became invalid because the log was full or
missing.

The marks of clients that were written (a registration, perhaps with the same token) are deleted, except those of
the kind `host`, which hold for the token permanently. A mark that was made after the registration and before this
record is deleted, too, since the order of the two is not known: the next push that the provider refuses marks the
token again, while a mark that outlived a registration would block pings to a working device.
"""
