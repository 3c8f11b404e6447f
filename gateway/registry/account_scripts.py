"""Atomic changes of a user's record, as Lua scripts with commands that both Redis 6.2 and Valkey have.

The scripts take all keys as KEYS; these have no common hash tag, so that the scripts need a single server or Sentinel,
not a cluster, as RhoConnect's layout does (contract §7). Each script checks its arguments and reads its keys before its
first write.
"""

from typing import Final

from gateway.store.connection import Script
from gateway.store.lua import CHECKS

CREATE: Final = Script(
    CHECKS
    + """
-- KEYS: rho__id of the user, set of users, counter of users, rho__id and name of the app, then the user's fields
-- ARGV: login, name of the app, then the value of each field
if #ARGV ~= #KEYS - 3 then missing('the value of a field') end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SISMEMBER', KEYS[2], ARGV[1])
local fields = {KEYS[1], ARGV[1]}
for i = 6, #KEYS do
    fields[#fields + 1] = KEYS[i]
    fields[#fields + 1] = ARGV[i - 3]
end
redis.call('MSET', unpack(fields))
redis.call('SADD', KEYS[2], ARGV[1])
redis.pcall('INCR', KEYS[3])  -- nothing depends on the counter, which may be damaged
redis.call('SET', KEYS[4], ARGV[2], 'NX')
redis.call('SET', KEYS[5], ARGV[2], 'NX')
return 1
"""
)
"""Create a user; 0 if it exists, and nothing is written."""

WRITE: Final = Script(
    CHECKS
    + """
-- KEYS: rho__id of the user, then the fields; ARGV: the value of each field
if #ARGV ~= #KEYS - 1 then missing('the value of a field') end
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local fields = {}
for i = 2, #KEYS do
    fields[#fields + 1] = KEYS[i]
    fields[#fields + 1] = ARGV[i - 1]
end
redis.call('MSET', unpack(fields))
return 1
"""
)
"""Set fields of a user; 0 if there is no such user, and nothing is written."""
