"""A queue that can be read, beside an empty Redis."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.queue.entries import decode_entry
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping


class Queued(NamedTuple):
    """A ping in the queue: in which entry, who and what."""

    entry: str
    ping: Ping

    @property
    def pair(self) -> tuple[str, tuple[str, ...]]:
        return self.ping.users[0], self.ping.sources


async def queued(redis: Redis) -> list[Queued]:
    """Every ping in the queue, in order."""
    found = []
    for entry, fields in await redis.xrange(keys.PINGS):
        pings = decode_entry(fields[b"e"]).pings
        assert int(fields[b"n"]) == len(pings)
        found += [Queued(entry.decode(), ping) for ping in pings]
    return found


@pytest.fixture
async def connection(redis_address: str) -> AsyncIterator[RedisConnection]:
    made = RedisConnection(RedisAddress.parse(redis_address), "test")
    await made.open(30)
    yield made
    await made.close()
