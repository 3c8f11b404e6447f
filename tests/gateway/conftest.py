"""Links to the store under test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.store.address import Address
from gateway.store.connection import Link

MakeLink = Callable[..., Awaitable[Link]]


@pytest.fixture
async def make_link(redis_address: str) -> AsyncIterator[MakeLink]:
    """Opens links to the empty store: `await make_link("name", resp3=True)`."""
    async with AsyncExitStack() as stack:

        async def make(name: str = "test", **options: Any) -> Link:
            link = Link(Address.parse(options.pop("address", redis_address)), name, **options)
            await link.open(30)
            stack.push_async_callback(link.close)
            return link

        yield make


@pytest.fixture
async def link(make_link: MakeLink) -> Link:
    return await make_link()
