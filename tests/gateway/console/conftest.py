"""The console for tests, over a real store."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.gateway.console.harness import Console, open_console


@pytest.fixture
async def console(redis_client: Redis, redis_address: str) -> AsyncIterator[Console]:
    """The console, with the fast path in front."""
    async with open_console(redis_client, redis_address) as found:
        yield found
