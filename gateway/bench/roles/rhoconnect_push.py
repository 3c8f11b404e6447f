"""The RhoConnect Push service alone: long polls and messages over HTTP, and messages from inside the gateway.

It runs `gateway.rhoconnect_push`, its data in Redis, and the lane of RhoConnect Push devices, as a worker does. The
deliveries from inside are made before the clock starts, since making them is the fan-out's work.
"""

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import msgspec
import uvloop

from gateway.bench.rhoconnect_push_devices import token_of
from gateway.bench.roles import result
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.providers.rhoconnect_push import PROVIDER
from gateway.delivery.rhoconnect_push_builtin import BuiltinRhoConnectPushLane
from gateway.delivery.route import Route
from gateway.errors import RhoPushError
from gateway.logs import structured
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.rhoconnect_push import Authenticator, PushService, PushTimeouts, RunningService, open_service
from gateway.settings import RetrySettings
from gateway.store import keys
from gateway.store.address import RedisAddress
from protocols.devices import RHOCONNECT_PUSH, Device
from protocols.ping.model import Ping
from protocols.rhoconnect_push.ids import Ids
from protocols.rhoconnect_push.message import RhoConnectPushTarget

Order = TypeVar("Order")

BATCH_DELIVERIES: Final = keys.ENTRY_PINGS
BATCHES_OFFERED: Final = 20
_WAIT_S: Final = 3600.0
"""No poll times out during the measurement."""
_POLL_S: Final = 0.01
_LOOKS: Final = 6_000


class RhoConnectPushOrder(msgspec.Struct):
    """One order.

    Attributes:
        action: `open` (with `redis`, `secret`), `waiting` (until `count` polls wait, and all were read from Redis),
            or `send` (one message to each of `count` devices, over the lane).
    """

    action: str
    redis: str = ""
    secret: str = ""
    count: int = 0


class RhoConnectPushResult(msgspec.Struct):
    """The result: the port, seconds and CPU of the process."""

    port: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class _RunningService:
    """The service, opened by the first order."""

    def __init__(
        self, store: MailboxStore, service: PushService, opened: RunningService, ids: Ids, port: int
    ) -> None:
        self.store = store
        self.service = service
        self.opened = opened
        self.ids = ids
        self.port = port
        self.metrics = Metrics()
        self.round = 0


async def _anybody(cookies: str, authorization: str | None, client: str) -> bool:
    return True


async def _any_app(authorization: str, client: str) -> bool:
    return True


async def _open(order: RhoConnectPushOrder) -> _RunningService:
    store = MailboxStore(RedisAddress.parse(order.redis))
    await store.open()
    ids = Ids(order.secret.encode())
    authenticator = Authenticator(_anybody, _any_app, app_s=_WAIT_S)
    service = PushService(store, ids, authenticator, PushTimeouts(wait_s=_WAIT_S, idle_s=_WAIT_S), Metrics())
    # all loopback addresses, since there are more devices than one address has ports
    sock = socket.create_server(("", 0))
    opened = await open_service(service, sock)
    gc.collect()
    gc.freeze()  # as a worker does when it is ready
    return _RunningService(store, service, opened, ids, sock.getsockname()[1])


async def _waiting(service_state: _RunningService, count: int) -> None:
    polls = service_state.service.polls
    for _ in range(_LOOKS):
        if len(polls) >= count and not polls.asking:
            return
        await asyncio.sleep(_POLL_S)
    raise RhoPushError(f"{len(polls)} of {count} polls wait")


class _DeliveryFeeder:
    """Delivers one message to each device over the lane, and waits until the last one is accepted."""

    def __init__(self, service_state: _RunningService, count: int) -> None:
        self._lane = BuiltinRhoConnectPushLane(
            PROVIDER, service_state.store, RetrySettings(), service_state.metrics
        )
        self._route = Route(self._lane, RhoConnectPushTarget(), "")
        self._done = asyncio.Event()
        service_state.round += 1
        self._ids = service_state.ids
        now_ms = int(time.time() * 1000)
        ping = Ping(
            id=f"{service_state.round:032x}",
            accepted_ms=now_ms,
            sources=("Product",),
            message="Order 0000000 is on its way",
            vibrate=2000,
            sound="hello.mp3",
        )
        message = PROVIDER.compose(ping, RhoConnectPushTarget(), now_ms)
        if message is None:
            raise RhoPushError("the ping has no content")
        self._message, self._ping = message, ping
        self._batches = [
            self._make_batch(first, min(BATCH_DELIVERIES, count - first))
            for first in range(0, count, BATCH_DELIVERIES)
        ]
        self._open = len(self._batches)

    async def run(self) -> None:
        """Deliver all messages."""
        for _ in range(BATCHES_OFFERED):
            self._offer()
        await self._done.wait()
        await self._lane.close(1.0)

    def _make_batch(self, first: int, size: int) -> list[Delivery]:
        lease = Lease(keys.CHUNKS, f"{first}-0", b"", 0, 0, redelivered=False)
        batch = DeliveryBatch(lease, f"{first:028x}", (self._ping,), self._on_batch_complete, bulk=True)
        batch.begin_ping({})
        deliveries = []
        for number in range(first, first + size):
            device = Device(f"{number:032x}", "ANDROID", "rhoconnect_push", token_of(self._ids, number))
            index = batch.add_delivery(device.client_id, RHOCONNECT_PUSH)
            path = self._message.path(device.pin)
            deliveries.append(Delivery(batch, index, device, self._route, self._message, path, b""))
        batch.finish_planning()
        return deliveries

    def _offer(self) -> None:
        if self._batches:
            self._lane.offer(self._batches.pop(), bulk=True)

    def _on_batch_complete(self, batch: DeliveryBatch) -> None:
        if batch.other_verdicts:
            raise RhoPushError(f"not accepted: {next(iter(batch.other_verdicts.values()))}")
        self._open -= 1
        self._offer()
        if not self._open:
            self._done.set()


async def _send(service_state: _RunningService, count: int) -> RhoConnectPushResult:
    feeder = _DeliveryFeeder(service_state, count)
    gc.collect()
    begun, cpu = time.perf_counter(), time.process_time()
    await feeder.run()
    return RhoConnectPushResult(service_state.port, time.perf_counter() - begun, time.process_time() - cpu)


async def _serve() -> None:
    service_state: _RunningService | None = None
    async for order in order_lines(RhoConnectPushOrder):
        if service_state is None:
            service_state = await _open(order)
            result(RhoConnectPushResult(service_state.port))
        elif order.action == "waiting":
            await _waiting(service_state, order.count)
            result(RhoConnectPushResult(service_state.port))
        else:
            result(await _send(service_state, order.count))
    if service_state is not None:
        await service_state.opened.close(1.0)
        await service_state.store.close()


async def order_lines(kind: type[Order]) -> AsyncIterator[Order]:
    """Iterate over the orders as they arrive, while the event loop runs."""
    reader = asyncio.StreamReader()
    with os.fdopen(0, "rb", buffering=0, closefd=False) as pipe:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while line := await reader.readline():
            yield msgspec.json.decode(line, type=kind)
        transport.close()


if __name__ == "__main__":
    structured.configure(worker=0)
    uvloop.run(_serve())
