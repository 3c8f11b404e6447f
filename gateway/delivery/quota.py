"""A provider's quota, shared by all processes: a token bucket in Redis (providers B3)."""

from collections.abc import Callable
from typing import Final

from gateway.store import keys
from gateway.store.connection import RedisConnection, Reply, Script
from gateway.store.lua import CHECKS

_DRAW: Final = Script(
    CHECKS
    + """
-- KEYS: bucket; ARGV: wanted, tokens a second, most tokens
-- A number between 0 and most; the other value if it is not. `nan` compares as false.
local function between(text, most, other)
    local number = tonumber(text)
    return number and number >= 0 and number <= most and number or other
end
local wanted = natural(ARGV[1])
local rate, most = between(ARGV[2], 1e12), between(ARGV[3], 1e12)
if not (rate and most) then missing('the rate') end
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
-- A bucket of another type counts as missing: otherwise its lane would never send.
local held = fits(KEYS[1], 'hash') and redis.call('HMGET', KEYS[1], 'tokens', 'at') or {}
local tokens = between(held[1] or '', most, most)
tokens = math.min(most, tokens + (at - between(held[2] or '', at, at)) * rate / 1000)
local grant = math.min(wanted, math.floor(tokens))
redis.call('DEL', KEYS[1])  -- first, so that a full Redis accepts the rest (see `scripts`)
redis.call('HSET', KEYS[1], 'tokens', tokens - grant, 'at', at)
redis.call('PEXPIRE', KEYS[1], 120000)
return grant
"""
)
"""Take at most this many tokens. The script uses Redis' clock, so that gateways need no synchronized clocks."""


class Quota:
    """Draws from the buckets of the queue's Redis."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def draw(self, name: str, wanted: int, per_s: float, granted: Callable[[int], None]) -> None:
        """Request tokens.

        Args:
            name: owner of the quota: a lane's name, the same in every process.
            wanted: most tokens to take.
            per_s: rate at which the bucket is filled; it holds the tokens of at most one second.
            granted: gets the number of tokens; 0 if there are none or Redis did not answer.
        """

        def replied(reply: Reply) -> None:
            granted(reply if isinstance(reply, int) else 0)

        self._connection.eval_then(_DRAW, [keys.quota(name)], [wanted, per_s, max(1.0, per_s)], replied)
