"""Checks that the gateway's Lua scripts share; each runs before a script's first write.

Redis does not roll a script back: writes before a failed step remain. So each script first checks its arguments and
the types of its keys, and only then makes writes, which can no longer fail. A read of a key (HLEN, ZCARD, GET and so
on) is the check of its type: it fails with WRONGTYPE.

Redis refuses writes of a full server (OOM), of a server that cannot save (MISCONF) and without replicas (NOREPLICAS)
at a script's first write only (`scriptVerifyWriteCommandAllow` and `scriptVerifyOOM`, script.c), so these never stop
a script half-way.
"""

from typing import Final

BAD_VALUE: Final = "BADVALUE"
"""Word in the error of a script that received an unusable argument."""

CHECKS: Final = f"""
-- Numbers that INCR and HINCRBY accept.
local function is_whole(text)
    return text == '0' or (text and #text < 17 and string.find(text, '^%-?[1-9]%d*$') ~= nil)
end

-- An argument that must be a whole number, which Redis and Lua both hold exactly. `nan % 1` is not 0.
local function whole(text)
    local number = tonumber(text)
    if not number or number % 1 ~= 0 or number > 1e16 or number < -1e16 then error('{BAD_VALUE} no whole number') end
    return number
end

local function natural(text)
    if text == '0' then return 0 end
    local number = whole(text)
    if number < 0 then error('{BAD_VALUE} a negative number') end
    return number
end

-- A time to live in seconds: zero would delete the key, and far more than a century overflows.
local function seconds(text)
    local number = whole(text)
    if number < 1 or number > 1e10 then error('{BAD_VALUE} no time to live') end
    return number
end

-- A stored count; a damaged one counts as 0, so that it affects nothing else.
local function stored(text)
    local number = text and tonumber(text)
    return number and number % 1 == 0 and number < 1e16 and number > -1e16 and number or 0
end

-- HINCRBY accepts neither '-0' nor a field that is not a number; this accepts both. The key must be a hash.
local function add(key, field, change)
    local sum = stored(redis.call('HGET', key, field)) + change
    if sum == 0 then sum = 0 end  -- no -0
    redis.call('HSET', key, field, sum)
    return sum
end

local function missing(what) error('BADVALUE ' .. what .. ' is missing') end

-- Whether a key has this type, or does not exist.
local function fits(key, kind)
    local found = redis.call('TYPE', key).ok
    return found == kind or found == 'none'
end

-- A count is never negative, even if a damaged one was.
local function count(number) return number > 0 and number or 0 end
"""
"""Lua text to prepend to a script."""
