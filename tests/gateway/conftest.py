"""Links to the store under test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection

MakeLink = Callable[..., Awaitable[RedisConnection]]


@pytest.fixture
async def make_link(redis_address: str) -> AsyncIterator[MakeLink]:
    """Opens links to the empty store: `await make_link("name", resp3=True)`."""
    async with AsyncExitStack() as stack:

        async def make(name: str = "test", **options: Any) -> RedisConnection:
            connection = RedisConnection(
                RedisAddress.parse(options.pop("address", redis_address)), name, **options
            )
            await connection.open(30)
            stack.push_async_callback(connection.close)
            return connection

        yield make


@pytest.fixture
async def connection(make_link: MakeLink) -> RedisConnection:
    return await make_link()
