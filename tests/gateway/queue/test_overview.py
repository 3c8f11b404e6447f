"""The numbers of the queue."""

from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.queue.consumer import Streams
from gateway.queue.overview import QueueOverview
from gateway.store import keys
from gateway.store.connection import RedisConnection


async def test_an_empty_redis_has_an_empty_queue(connection: RedisConnection) -> None:
    found = await QueueOverview(connection).read()
    assert [(one.entries, one.pending, one.oldest_age_s) for one in found.streams] == [(0, 0, None)] * 4
    assert (found.pings, found.bytes, found.retries, found.unreadable, found.parked) == (0, 0, 0, 0, {})


async def test_the_numbers_are_those_of_redis(connection: RedisConnection, redis_client: Redis) -> None:
    await Streams(connection, "one:0", 60).prepare()
    old_ms = SHARED_CLOCK.now_ms() - 90_000
    await redis_client.xadd(keys.PINGS, {"e": "", "n": 1, "s": 1}, id=f"{old_ms}-0")
    await redis_client.xadd(keys.PINGS, {"e": "", "n": 1, "s": 1})
    await redis_client.xreadgroup(keys.GROUP, "one:0", {keys.PINGS: ">"}, count=1)
    stats = {"pings": 2, "bytes": 20, "scheduled_pings": 3, "scheduled_bytes": 30, "receipt_bytes": -4}
    await redis_client.hset(keys.STATS, mapping=stats)
    await redis_client.zadd(keys.SCHEDULE, {"a": 1, "b": 2})
    await redis_client.zadd(keys.RECEIPTS, {"r": 1})
    await redis_client.hset(keys.PARKED, mapping={"few": 1, "many": 9, "none": 0, "damaged": "x"})
    await redis_client.xadd(keys.UNREADABLE, {"size": 1})
    found = await QueueOverview(connection).read()
    pings = found.streams[0]
    assert (pings.name, pings.entries, pings.pending) == ("pings", 2, 1)
    assert pings.oldest_age_s is not None
    assert 89 < pings.oldest_age_s < 150
    assert (found.pings, found.bytes, found.scheduled_pings, found.scheduled_bytes) == (2, 20, 3, 30)
    assert (found.retries, found.receipts, found.receipt_bytes, found.unreadable) == (2, 1, 0, 1)
    assert list(found.parked.items()) == [("many", 9), ("few", 1)]
