"""A provider's quota, shared by all processes: a token bucket in Redis (providers B3)."""

from collections.abc import Callable
from typing import Final

from gateway.store import keys
from gateway.store.link import Link, Reply, Script

_DRAW: Final = Script("""
-- KEYS: bucket; ARGV: wanted, tokens a second, most tokens
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local rate, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens = tonumber(held[1]) or most
tokens = math.min(most, tokens + math.max(0, at - (tonumber(held[2]) or at)) * rate / 1000)
local grant = math.min(tonumber(ARGV[1]), math.floor(tokens))
redis.call('DEL', KEYS[1])  -- first, so that a full Redis takes the rest (see `scripts`)
redis.call('HSET', KEYS[1], 'tokens', tokens - grant, 'at', at)
redis.call('PEXPIRE', KEYS[1], 120000)
return grant
""")
"""Take up to so many tokens. The clock is Redis', so that gateways need not agree on the time."""


class Quota:
    """Draws from the buckets of the queue's Redis."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def draw(self, name: str, wanted: int, per_s: float, granted: Callable[[int], None]) -> None:
        """Ask for tokens.

        Args:
            name: whose quota: a lane's name, the same in every process.
            wanted: at most so many.
            per_s: what the bucket gains a second; it holds at most one second's.
            granted: gets how many there are, perhaps 0; 0 too where Redis did not answer.
        """

        def replied(reply: Reply) -> None:
            granted(reply if isinstance(reply, int) else 0)

        self._link.eval_then(_DRAW, [keys.quota(name)], [wanted, per_s, max(1.0, per_s)], replied)
