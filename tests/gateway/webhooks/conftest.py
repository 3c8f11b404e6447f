"""An outbox that real settlements fill."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.metrics import Metrics
from gateway.queue.consumer import Settlement, Streams
from gateway.queue.entries import Lease, encode
from gateway.queue.outbox import FinishedPing, OutboxRecord, RejectedDevice, SettledEvents
from gateway.settings import Secret, WebhookSettings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.replies import resolver
from gateway.tracing import PingTracer
from gateway.webhooks.endpoint_delivery import EndpointDelivery
from gateway.webhooks.endpoint_state import EndpointStates
from gateway.webhooks.http_sink import HttpSink
from gateway.webhooks.outbox import Outbox
from protocols.webhooks.events import PING_COMPLETED, PING_FAILED_DEVICES
from tests.support.webhooks import SECRET, Receiver, receiving

LIMIT = 1_000_000
BOTH = (PING_COMPLETED, PING_FAILED_DEVICES)


class Clock:
    """The clock of the delays between attempts; the test alone moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


class One:
    """One endpoint, and one worker that may deliver to it."""

    def __init__(
        self,
        connection: RedisConnection,
        url: str,
        *events: str,
        worker: str = "tested:0",
        name: str = "crm",
        tracer: PingTracer | None = None,
    ) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.states = EndpointStates(connection, worker)
        self.settings = WebhookSettings(Secret(url), (Secret(SECRET),), events or BOTH)
        self.delivery = EndpointDelivery(
            name,
            self.settings,
            HttpSink(self.settings),
            self.states,
            Outbox(connection),
            self.metrics,
            self.clock.now_ms,
            tracer,
        )

    async def step(self) -> float:
        """One step, after which the clock under control moves to the next attempt."""
        wait_s = await self.delivery.step()
        due_ms = (await self.states.read("crm")).due_ms
        if due_ms > self.clock.now:
            self.clock.now = due_ms
            return 0.0
        return wait_s

    async def until(self, condition: Callable[[], object]) -> None:
        """Step until a condition is true."""
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(min(await self.step(), 0.2))

    def count(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        found = self.metrics.registry.get_sample_value(f"rhopush_{name}", {"endpoint": "crm", **labels})
        return float(found or 0.0)


@pytest.fixture
async def one(connection: RedisConnection, receiver: Receiver) -> Any:
    found = One(connection, receiver.url)
    await found.states.begin(["crm"])
    yield found
    await found.delivery.close()


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
