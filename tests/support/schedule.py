"""Access to the retry schedule in Redis, which follows Redis' clock: tests change the due times instead."""

from redis.asyncio import Redis

from gateway.store import keys


async def make_all_due(redis: Redis) -> None:
    """Make every entry of the schedule due now."""
    async for name, _ in redis.zscan_iter(keys.SCHEDULE):
        await redis.zadd(keys.SCHEDULE, {name: 0})
