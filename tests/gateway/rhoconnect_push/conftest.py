"""Fixtures of the RhoConnect Push service."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.gateway.rhoconnect_push.harness import House, house


@pytest.fixture
async def service(redis_client: Redis, redis_address: str) -> AsyncIterator[House]:
    """The service over an empty store, with a RhoConnect that authenticates users and apps."""
    async with house(redis_client, redis_address) as found:
        yield found
