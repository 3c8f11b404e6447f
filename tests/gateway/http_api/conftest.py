"""HTTP servers for tests: with and without the fast path, over a real store."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.gateway.http_api.harness import House, house


@pytest.fixture(params=["fast", "aiohttp"])
async def both(request: pytest.FixtureRequest, redis_client: Redis) -> AsyncIterator[House]:
    """The HTTP API, once with the fast path and once without: the answers are the same."""
    async with house(redis_client, fast_path=request.param == "fast") as found:
        yield found


@pytest.fixture
async def api(redis_client: Redis) -> AsyncIterator[House]:
    """The HTTP API with the fast path."""
    async with house(redis_client) as found:
        yield found
