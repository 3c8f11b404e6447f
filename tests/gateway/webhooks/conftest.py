"""An outbox that real settlements fill."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.queue.consumer import Settlement, Streams
from gateway.queue.entries import Lease, encode
from gateway.queue.outbox import FinishedPing, OutboxRecord, RejectedDevice, SettledEvents
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.replies import resolver
from gateway.webhooks.endpoint_state import EndpointStates
from gateway.webhooks.outbox import Outbox
from tests.support.webhooks import Receiver, receiving

LIMIT = 1_000_000


class Settling:
    """Settles entries with events."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._streams = Streams(connection, "tested:0", 3600)

    async def settle(
        self, batch: str, *pings: FinishedPing, rejected: tuple[RejectedDevice, ...] = (), limit: int = LIMIT
    ) -> None:
        """Settle one entry whose pings are all finished."""
        record = OutboxRecord(limit, encode(SettledEvents(batch, pings, rejected)), batch)
        await self.write(record)

    async def write(self, events: OutboxRecord) -> int:
        """Settle a new entry with these events."""
        await self._streams.prepare()
        entry = (await self._connection.call("XADD", keys.PINGS, "*", "e", b"", "n", 1, "s", 1)).decode()
        return await self.settle_entry(entry, events.batch_id, events)

    async def settle_entry(self, entry: str, batch: str, events: OutboxRecord | None = None) -> int:
        """Settle an entry; returns 0 if it was settled before."""
        if events is None:
            events = OutboxRecord(LIMIT, encode(SettledEvents(batch, (FinishedPing(0),))), batch)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        settlement = Settlement(Lease(keys.PINGS, entry, b"", 1, 1, False), events=events)
        self._streams.settle(settlement, 0, resolver(reply))  # a test may cancel its load
        return int(await reply)


@pytest.fixture
def settling(connection: RedisConnection) -> Settling:
    return Settling(connection)


@pytest.fixture
def outbox(connection: RedisConnection) -> Outbox:
    return Outbox(connection)


@pytest.fixture
def states(connection: RedisConnection) -> EndpointStates:
    return EndpointStates(connection, "tested:0")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
        yield found


def batch_id(number: int) -> str:
    """A batch id."""
    return f"{number:028x}"
