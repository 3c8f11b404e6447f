"""The schedule of retries in Redis, which runs by Redis' clock: tests move what is on it instead."""

from redis.asyncio import Redis

from gateway.store import keys


async def make_all_due(redis: Redis) -> None:
    """Let everything on the schedule be due now."""
    async for name, _ in redis.zscan_iter(keys.SCHEDULE):
        await redis.zadd(keys.SCHEDULE, {name: 0})
