"""The legacy push service alone: long polls and messages over HTTP, and messages from inside the gateway.

What runs is `gateway.rhoconnect_push`, its part of Redis, and the lane of legacy devices, as a worker runs them. The
sends from inside are made before the clock starts, since making them is the fan-out's part.
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
from gateway.delivery.batch import Send, Unit
from gateway.delivery.providers import PROVIDERS
from gateway.delivery.rhoconnect_push_builtin import RpsLane
from gateway.delivery.route import Route
from gateway.errors import RhoPushError
from gateway.logs import structured
from gateway.mailbox.store import RpsStore
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.rhoconnect_push import Gates, OpenService, Service, Times, open_service
from gateway.settings import RetrySettings
from gateway.store import keys
from gateway.store.address import Address
from protocols.devices import RPS, Device
from protocols.ping.model import Ping
from protocols.rhoconnect_push.ids import Ids
from protocols.rhoconnect_push.message import Target

Order = TypeVar("Order")

UNIT_SENDS: Final = keys.ENTRY_PINGS
UNITS_OFFERED: Final = 20
_WAIT_S: Final = 3600.0
"""No poll ends by its time while it is measured."""
_POLL_S: Final = 0.01
_LOOKS: Final = 6_000


class LegacyOrder(msgspec.Struct):
    """What to do.

    Attributes:
        act: `open` (with `redis`, `secret`), `waiting` (until `count` polls wait, all of them asked for), or
            `send` (one message to each of `count` devices, over the lane).
    """

    act: str
    redis: str = ""
    secret: str = ""
    count: int = 0


class LegacyResult(msgspec.Struct):
    """What was done: the port, seconds and CPU of the process."""

    port: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class _House:
    """The service, opened by the first order."""

    def __init__(self, store: RpsStore, service: Service, opened: OpenService, ids: Ids, port: int) -> None:
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


async def _open(order: LegacyOrder) -> _House:
    store = RpsStore(Address.parse(order.redis))
    await store.open()
    ids = Ids(order.secret.encode())
    gates = Gates(_anybody, _any_app, app_s=_WAIT_S)
    service = Service(store, ids, gates, Times(wait_s=_WAIT_S, idle_s=_WAIT_S), Metrics())
    sock = socket.create_server(("", 0))  # all loopback addresses: more devices than one address has ports
    opened = await open_service(service, sock)
    gc.collect()
    gc.freeze()  # as a worker does when it is ready
    return _House(store, service, opened, ids, sock.getsockname()[1])


async def _waiting(house: _House, count: int) -> None:
    polls = house.service.polls
    for _ in range(_LOOKS):
        if len(polls) >= count and not polls.asking:
            return
        await asyncio.sleep(_POLL_S)
    raise RhoPushError(f"{len(polls)} of {count} polls wait")


class _Feeder:
    """Sends one message to each device over the lane, and sees the last one accepted."""

    def __init__(self, house: _House, count: int) -> None:
        self._lane = RpsLane(house.store, RetrySettings(), house.metrics)
        self._route = Route(self._lane, Target(), "")
        self._done = asyncio.Event()
        house.round += 1
        self._ids = house.ids
        now_ms = int(time.time() * 1000)
        ping = Ping(
            id=f"{house.round:032x}",
            accepted_ms=now_ms,
            sources=("Product",),
            message="Order 0000000 is on its way",
            vibrate=2000,
            sound="hello.mp3",
        )
        message = PROVIDERS[RPS].compose(ping, Target(), now_ms)
        if message is None:
            raise RhoPushError("the ping says nothing")
        self._message, self._ping = message, ping
        self._units = [
            self._unit(first, min(UNIT_SENDS, count - first)) for first in range(0, count, UNIT_SENDS)
        ]
        self._open = len(self._units)

    async def run(self) -> None:
        """Send everything."""
        for _ in range(UNITS_OFFERED):
            self._offer()
        await self._done.wait()
        await self._lane.close(1.0)

    def _unit(self, first: int, size: int) -> list[Send]:
        lease = Lease(keys.PIECES, f"{first}-0", b"", 0, 0, again=False)
        unit = Unit(lease, f"{first:028x}", (self._ping,), self._settled, bulk=True)
        unit.begin_ping({})
        sends = []
        for number in range(first, first + size):
            device = Device(f"{number:032x}", "ANDROID", "rhoconnect_push", token_of(self._ids, number))
            place = unit.add_place(device.client_id, RPS)
            path = self._message.path(device.pin)
            sends.append(Send(unit, place, device, self._route, self._message, path, b""))
        unit.planned()
        return sends

    def _offer(self) -> None:
        if self._units:
            self._lane.offer(self._units.pop(), bulk=True)

    def _settled(self, unit: Unit) -> None:
        if unit.rest:
            raise RhoPushError(f"not accepted: {next(iter(unit.rest.values()))}")
        self._open -= 1
        self._offer()
        if not self._open:
            self._done.set()


async def _send(house: _House, count: int) -> LegacyResult:
    feeder = _Feeder(house, count)
    gc.collect()
    begun, cpu = time.perf_counter(), time.process_time()
    await feeder.run()
    return LegacyResult(house.port, time.perf_counter() - begun, time.process_time() - cpu)


async def _serve() -> None:
    house: _House | None = None
    async for order in order_lines(LegacyOrder):
        if house is None:
            house = await _open(order)
            result(LegacyResult(house.port))
        elif order.act == "waiting":
            await _waiting(house, order.count)
            result(LegacyResult(house.port))
        else:
            result(await _send(house, order.count))
    if house is not None:
        await house.opened.close(1.0)
        await house.store.close()


async def order_lines(kind: type[Order]) -> AsyncIterator[Order]:
    """Each order, as it comes, while the loop goes on serving."""
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
