"""Counters of the badge "+1": once for each ping, restarted by a sync, bounded in time and size."""

from redis.asyncio import Redis

from gateway.queue.badges import COUNT_MAX, BadgeDevice, BadgeStore
from gateway.store import keys
from gateway.store.connection import RedisConnection

ONE, TWO = BadgeDevice("c1", "2026-01-01"), BadgeDevice("c2", "")
SYNCED = BadgeDevice("c1", "2026-01-02")


def ping(number: int) -> str:
    return f"{number:032x}"


async def test_each_ping_counts_once_however_often_it_is_repeated(
    connection: RedisConnection, redis_client: Redis
) -> None:
    store = BadgeStore(connection)
    assert await store.preview([ONE, TWO]) == [1, 1]
    assert await store.count(ping(1), [ONE, TWO]) == [1, 1]
    assert await store.count(ping(1), [TWO, ONE]) == [1, 1]
    assert await store.count(ping(2), [ONE]) == [2]
    assert await store.count(ping(3), [ONE, TWO]) == [3, 2]
    assert await store.count(ping(2), [ONE]) == [2]
    assert await store.preview([ONE, TWO]) == [4, 3]
    assert await store.preview([ONE, TWO]) == [4, 3]
    assert 0 < await redis_client.ttl(keys.badge("c1")) <= keys.BADGE_S


async def test_a_sync_restarts_the_count_and_keeps_the_numbers_of_retries(
    connection: RedisConnection,
) -> None:
    store = BadgeStore(connection)
    await store.count(ping(1), [ONE])
    await store.count(ping(2), [ONE])
    assert await store.preview([SYNCED]) == [1]
    assert await store.count(ping(3), [SYNCED]) == [1]
    assert await store.count(ping(2), [SYNCED]) == [2]
    assert await store.count(ping(4), [SYNCED]) == [2]


async def test_a_counter_has_a_bounded_size_and_a_largest_number(
    connection: RedisConnection, redis_client: Redis
) -> None:
    store = BadgeStore(connection)
    most = keys.BADGE_PINGS
    for number in range(most + 1):
        await store.count(ping(number), [ONE])
    kept = await redis_client.hget(keys.badge("c1"), "pings")
    assert kept is not None
    assert kept.count(b"=") == most
    assert await store.count(ping(1), [ONE]) == [2]
    assert await store.count(ping(0), [ONE]) == [most + 2]
    await redis_client.hset(keys.badge("c1"), "count", COUNT_MAX)
    assert await store.preview([ONE]) == [COUNT_MAX]
    assert await store.count(ping(9999), [ONE]) == [COUNT_MAX]


async def test_a_full_redis_still_counts(connection: RedisConnection, redis_client: Redis) -> None:
    store = BadgeStore(connection)
    await redis_client.config_set("maxmemory", "1mb")
    try:
        assert await store.count(ping(1), [ONE, TWO]) == [1, 1]
    finally:
        await redis_client.config_set("maxmemory", 0)


async def test_a_counter_of_another_type_counts_as_missing(
    connection: RedisConnection, redis_client: Redis
) -> None:
    store = BadgeStore(connection)
    await store.count(ping(1), [TWO])
    await redis_client.set(keys.badge("c1"), "of another program")
    assert await store.preview([ONE, TWO]) == [1, 2]
    assert await store.count(ping(2), [ONE, TWO]) == [1, 2]
    assert await store.count(ping(3), [ONE, TWO]) == [2, 3]
    assert 0 < await redis_client.ttl(keys.badge("c1")) <= keys.BADGE_S
