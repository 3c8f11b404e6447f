"""The token bucket in Redis that all processes draw a provider's quota from."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.delivery.quota import Quota
from gateway.delivery.rate_limiter import BATCH_S, RateLimiter
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.gateway.delivery.test_rate_limiter import PER_MINUTE


@pytest.fixture
async def quotas(redis_address: str) -> AsyncIterator[list[Quota]]:
    links = [RedisConnection(RedisAddress.parse(redis_address), f"pace{number}") for number in range(2)]
    for link in links:
        await link.open(30)
    yield [Quota(link) for link in links]
    for link in links:
        await link.close()


async def test_two_processes_share_one_quota(quotas: list[Quota]) -> None:
    """A second's worth is there at once; then what time brings: never twice the quota."""
    loop = asyncio.get_running_loop()
    sent = [0, 0]
    until = loop.time() + 1.5
    done = asyncio.Event()
    paces: list[RateLimiter] = []

    def send(number: int) -> None:
        if loop.time() > until and min(sent):
            done.set()
            return
        while allowed := paces[number].allow(1_000):
            paces[number].consume(allowed)
            sent[number] += allowed

    paces += [
        RateLimiter(quotas[number], "fcm:p", PER_MINUTE, lambda number=number: send(number))
        for number in (0, 1)
    ]
    began = loop.time()
    send(0)
    send(1)
    await asyncio.wait_for(done.wait(), 30)
    most = PER_MINUTE / 60 * (1 + loop.time() - began) + 2 * PER_MINUTE / 60 * BATCH_S
    assert 0 < sum(sent) <= most
    assert min(sent) > 0


async def test_a_bucket_of_another_type_stops_no_lane(quotas: list[Quota], redis_client: Redis) -> None:
    await redis_client.set(keys.quota("fcm:p"), "of another program")
    granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    quotas[0].draw("fcm:p", 5, 10.0, granted.set_result)
    assert await asyncio.wait_for(granted, 30) == 5
    assert await redis_client.type(keys.quota("fcm:p")) == b"hash"
