"""The journal's Lua: each script is one step that nobody comes between.

Count, void and names lie in one hash, so that they live and end together: a journal that was deleted or evicted begins
anew with the server's clock, far above every count that it gave before. The two begin with a NUL, as no login does.
"""

from typing import Final

from gateway.registry.token_marks import LEARNED_LUA
from gateway.store.connection import Script
from gateway.store.lua import CHECKS

COUNT: Final = "\0count"
"""Field: goes up with each note."""
VOID: Final = "\0void"
"""Field: what was read before the journal stood here is not to be believed."""

_PREPARE: Final = (
    CHECKS
    + r"""
-- KEYS: journal. Begins it anew; returns where it stands.
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
-- KEYS: journal, listeners, this one's last word; ARGV: name, a word that never comes again, its seconds
local life, before = seconds(ARGV[3]), redis.call('GET', KEYS[3])
local stands = is_whole(redis.call('HGET', KEYS[1], '\0count'))
add(KEYS[2], ARGV[1], 1)
redis.call('SET', KEYS[3], ARGV[2], 'EX', life)
return {stands and '0' or begin(), before}
"""
)
"""Prove that this listener still listens. Where the journal had to be made: the count from which on it holds, else 0;
and the word of this listener's last beat here."""

RECORD_LAPSE: Final = Script(
    _PREPARE
    + """
-- KEYS: journal, listeners; ARGV: name
redis.call('HLEN', KEYS[1])
add(KEYS[2], ARGV[1], 1)  -- first: a Redis that is too full for beats must refuse this, too
redis.call('DEL', KEYS[2])
return begin()
"""
)
"""Nobody may have listened for a while: everything before is void. The count from which on the journal holds."""

RECORD_CHANGES: Final = Script(
    _PREPARE
    + r"""
-- KEYS: journal, marks of clients whose keys were written; ARGV: names at most, then names that changed
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
"""Note that these changed: the count of it, and 1 where all before it became void: the journal was full, or missing.

The marks of clients that were written (a registration, perhaps with the same token) are deleted, but for those of the
kind `host`, which are true of the token for good. A mark that was made after the registration and before this note is
deleted, too, since nothing tells which of the two came first: the next push that the provider refuses makes it anew,
while a mark that outlived a registration would keep pings from a device that is alive."""
