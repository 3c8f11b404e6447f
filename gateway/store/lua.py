"""What the Lua scripts of this package have in common: checks that stand before a script's first write.

Redis does not roll a script back: what was written before a step failed stays written. So each script checks its
arguments and the types of its keys first, and writes afterwards only what cannot fail any more. A read of a key
(HLEN, ZCARD, GET and so on) is the check of its type: it fails with WRONGTYPE.

Redis refuses writes of a full server (OOM), of a server that cannot save (MISCONF) and without replicas
(NOREPLICAS) at a script's first write only (`scriptVerifyWriteCommandAllow` and `scriptVerifyOOM`, script.c), so
these never stop a script half-way.
"""

from typing import Final

BAD_VALUE: Final = "BADVALUE"
"""Stands in the error of a script that was given an argument which it cannot use."""

CHECKS: Final = f"""
local function is_whole(text)
    return text == '0' or (text and #text < 17 and string.find(text, '^%-?[1-9]%d*$') ~= nil)
end

-- An argument that must be a whole number, which Redis and Lua both hold exactly.
local function whole(text)
    if not is_whole(text) then error('{BAD_VALUE} no whole number') end
    return tonumber(text)
end

local function natural(text)
    local number = whole(text)
    if number < 0 then error('{BAD_VALUE} a negative number') end
    return number
end

-- A time to live in seconds: zero would delete the key, and far more than a century overflows.
local function seconds(text)
    local number = whole(text)
    if number < 1 or number > 10000000000 then error('{BAD_VALUE} no time to live') end
    return text
end

-- A stored count; one that was damaged counts as 0, so that it harms nothing but itself.
local function stored(text)
    return is_whole(text) and tonumber(text) or 0
end

-- HINCRBY takes neither '-0' nor a field that holds something else; this takes both. The key must be a hash.
local function add(key, field, change)
    local sum = stored(redis.call('HGET', key, field)) + change
    redis.call('HSET', key, field, string.format('%.0f', sum))
    return sum
end

local function missing(what) error('BADVALUE ' .. what .. ' is missing') end

-- Whether a key is of this type, or is not there.
local function fits(key, kind)
    local found = redis.call('TYPE', key).ok
    return found == kind or found == 'none'
end

-- A count that is not negative, as text.
local function count(number) return string.format('%.0f', math.max(0, number)) end
"""
"""To be put before a script's own text."""
