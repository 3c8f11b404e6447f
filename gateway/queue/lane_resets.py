"""Requests of operators to close the circuit breaker of a lane in every worker of every gateway.

A request is a number in a hash of the queue's Redis. Every worker reads the hash once a second and resets each lane
whose number differs from the number that it read before.
"""

from typing import Final

from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS
from protocols.numbers import stored

RECORD: Final = Script(
    CHECKS
    + """
-- KEYS: resets; ARGV: lane, life s
local life = seconds(ARGV[2])
local number = stored(redis.call('HGET', KEYS[1], 'number')) + 1
redis.call('HSET', KEYS[1], 'number', number, 'lane:' .. ARGV[1], number)
redis.call('EXPIRE', KEYS[1], life)
return number
"""
)
"""Give the next number to a lane."""


class LaneResets:
    """Records requests, and reads those that a worker has not seen.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._seen: dict[str, int] | None = None

    async def request(self, lane: str) -> None:
        """Request every worker to close the breaker of this lane.

        Raises:
            StoreDown: Redis did not answer.
        """
        await self._connection.eval(RECORD, [keys.LANE_RESETS], [lane, keys.LANE_RESETS_S])

    async def unseen(self) -> list[str]:
        """The lanes with a request since the last call. The first call returns none: a worker starts with closed
        breakers.

        Raises:
            StoreDown: Redis did not answer.
        """
        flat = await self._connection.call("HGETALL", keys.LANE_RESETS)
        found = {
            name.decode("utf-8", "replace").removeprefix("lane:"): stored(number)
            for name, number in zip(flat[::2], flat[1::2], strict=True)
            if name.startswith(b"lane:")
        }
        before, self._seen = self._seen, found
        if before is None:
            return []
        return [lane for lane, number in found.items() if before.get(lane) != number]
