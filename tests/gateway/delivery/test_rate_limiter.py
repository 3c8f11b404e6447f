"""Pacing: two processes on one quota together never send more than it allows."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.delivery.quota import Quota
from gateway.delivery.rate_limiter import BATCH_S, RateLimiter
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection

PER_MINUTE = 60_000  # 1,000 a second


@pytest.fixture
async def quotas(redis_address: str) -> AsyncIterator[list[Quota]]:
    links = [RedisConnection(RedisAddress.parse(redis_address), f"pace{number}") for number in range(2)]
    for link in links:
        await link.open(30)
    yield [Quota(link) for link in links]
    for link in links:
        await link.close()


async def test_it_allows_the_drawn_tokens_and_no_more(quotas: list[Quota]) -> None:
    granted = asyncio.Event()
    limiter = RateLimiter(quotas[0], "fcm:p", PER_MINUTE, granted.set)
    assert limiter.allow(10) == 0  # nothing is drawn yet: it is now
    await asyncio.wait_for(granted.wait(), 30)
    batch = int(PER_MINUTE / 60 * BATCH_S)
    assert limiter.allow(10_000) == batch
    limiter.consume(batch)
    assert limiter.allow(1) == 0


async def test_a_lost_store_stops_the_lane_and_does_not_end_it(quotas: list[Quota]) -> None:
    granted: list[int] = []
    waiting = asyncio.Event()

    def heard(tokens: int) -> None:
        granted.append(tokens)
        waiting.set()

    link = RedisConnection(RedisAddress.parse("unix:///nowhere/s"), "nobody")
    Quota(link).draw("fcm:p", 5, 100.0, heard)
    await asyncio.wait_for(waiting.wait(), 30)
    assert granted == [0]


async def test_used_tokens_are_drawn_again(quotas: list[Quota]) -> None:
    granted = asyncio.Event()
    limiter = RateLimiter(quotas[0], "fcm:p", PER_MINUTE, granted.set)
    for _ in range(3):
        granted.clear()
        assert limiter.allow(1) == 0
        await asyncio.wait_for(granted.wait(), 30)
        limiter.consume(limiter.allow(10_000))


async def test_an_exhausted_quota_is_drawn_from_again(quotas: list[Quota]) -> None:
    granted = asyncio.Event()
    limiter = RateLimiter(quotas[0], "fcm:p", 60, granted.set)
    for _ in range(2):  # one token a second: the second draw gets nothing at first
        granted.clear()
        assert limiter.allow(1) == 0
        await asyncio.wait_for(granted.wait(), 30)
        limiter.consume(1)
