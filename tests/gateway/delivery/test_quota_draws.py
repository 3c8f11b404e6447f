"""Draws from a bucket in Redis: whole tokens, never more than the bucket has."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.delivery.quota import Quota
from gateway.store import keys
from gateway.store.connection import RedisConnection


async def drawn(quota: Quota, wanted: int, per_s: float) -> int:
    granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    quota.draw("fcm", wanted, per_s, granted.set_result)
    return await granted


async def ahead_ms(redis: Redis) -> int:
    """An instant that Redis' clock does not reach: the bucket gains nothing meanwhile."""
    seconds, _ = await redis.time()
    return int(seconds + 3600) * 1000


@pytest.mark.parametrize(
    ("tokens", "wanted", "granted", "left"),
    [
        ("3.75", 10, 3, "0.75"),
        ("3.75", 3, 3, "0.75"),
        ("3.75", 2, 2, "1.75"),
        ("0.75", 10, 0, "0.75"),
        ("0", 10, 0, "0"),
        ("1000", 10, 10, "90"),  # no more than one second's are there
    ],
)
async def test_a_draw_gets_whole_tokens_as_far_as_they_go(
    connection: RedisConnection, redis_client: Redis, tokens: str, wanted: int, granted: int, left: str
) -> None:
    name = keys.quota("fcm")
    await redis_client.hset(name, mapping={"tokens": tokens, "at": await ahead_ms(redis_client)})
    assert await drawn(Quota(connection), wanted, 100.0) == granted
    assert await redis_client.hget(name, "tokens") == left.encode()


@pytest.mark.parametrize(("per_s", "granted"), [(0.01, 1), (1.75, 1), (2.0, 2)])
async def test_a_new_bucket_holds_one_seconds_tokens_and_at_least_one(
    connection: RedisConnection, per_s: float, granted: int
) -> None:
    assert await drawn(Quota(connection), 10, per_s) == granted


async def test_a_bucket_that_nobody_used_for_an_hour_holds_one_seconds_tokens(
    connection: RedisConnection, redis_client: Redis
) -> None:
    at_ms = await ahead_ms(redis_client) - 2 * 3_600_000
    await redis_client.hset(keys.quota("fcm"), mapping={"tokens": "0", "at": at_ms})
    assert await drawn(Quota(connection), 10_000, 100.0) == 100
