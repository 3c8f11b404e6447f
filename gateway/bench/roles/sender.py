"""The delivery engine alone: a lane of the gateway, fed from memory.

It runs `gateway.delivery` and `gateway.transport` as a worker does: lane, pool, connections, deadlines, verdicts,
metrics. Tokens, request ids and pings are distinct. The deliveries are made before the clock starts, since making
them is the fan-out's work.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from gateway.bench import population
from gateway.bench.roles import orders, progress, result
from gateway.bench.wire import USER
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import Route, TokenScope
from gateway.errors import RhoPushError
from gateway.logs import structured
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.server import gc_policy
from gateway.settings import ApnsSettings, Settings
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.push_tokens import APNS
from protocols.verdict import Verdict

BATCH_DELIVERIES: Final = keys.ENTRY_PINGS
BATCHES_OFFERED: Final = 20
"""4,000 deliveries wait in the lane at any time: half of its limit in memory."""


class SenderOrder(msgspec.Struct):
    """One run.

    Attributes:
        port, ca_file, key_file, key_id, team_id, topic: the provider.
        pushes: number of pushes.
        payloads: number of different pings.
        connections: most connections.
    """

    port: int
    ca_file: str
    key_file: str
    key_id: str
    team_id: str
    topic: str
    pushes: int
    payloads: int = 1000
    connections: int = 1


class SenderResult(msgspec.Struct):
    """The result of a run: accepted deliveries (by the metrics), seconds, CPU of the process, payload size."""

    accepted: int
    seconds: float
    cpu_s: float
    payload_bytes: int


class Feeder:
    """Makes deliveries, offers them batch by batch and waits until the last one is settled."""

    def __init__(self, order: SenderOrder, route: Route) -> None:
        self._order = order
        self._route = route
        self._done = asyncio.Event()
        self._complete = 0
        now_ms = int(time.time() * 1000)
        self._pings = [self._ping(number, now_ms) for number in range(order.payloads)]
        self._messages = [self._message(ping) for ping in self._pings]
        self._batches = [self._make_batch(first) for first in range(0, order.pushes, BATCH_DELIVERIES)]
        self._count = len(self._batches)

    @property
    def payload_bytes(self) -> int:
        """Size of one payload."""
        return len(self._messages[0].body(""))

    async def run(self) -> None:
        """Deliver everything."""
        for _ in range(BATCHES_OFFERED):
            self._offer()
        await self._done.wait()

    def _ping(self, number: int, now_ms: int) -> Ping:
        return Ping(
            id=f"{number // BATCH_DELIVERIES:028x}{number % BATCH_DELIVERIES:04x}",
            accepted_ms=now_ms,
            users=(USER % number,),
            sources=("Product",),
            message=f"Order {number:07d} is on its way",
            vibrate=2000,
            sound="hello.mp3",
        )

    def _message(self, ping: Ping) -> ProviderMessage:
        message = self._route.lane.provider.compose(ping, self._route.target, ping.accepted_ms)
        if message is None:
            raise RhoPushError("the ping has no content")
        return message

    def _make_batch(self, first: int) -> list[Delivery]:
        """Make one batch, as an entry of the queue becomes one: each ping has a device of its own."""
        size = min(BATCH_DELIVERIES, self._order.pushes - first)
        indexes = [number % len(self._pings) for number in range(first, first + size)]
        pings = [self._pings[index] for index in indexes]
        lease = Lease(keys.PINGS, f"{first}-0", b"", size, 0, redelivered=False)
        batch = DeliveryBatch(lease, f"{first:028x}", pings, self._on_batch_complete)
        deliveries = [self._send(batch, first + index) for index in range(size)]
        batch.finish_planning()
        return deliveries

    def _send(self, batch: DeliveryBatch, number: int) -> Delivery:
        pin, message = population.pin(number), self._messages[number % len(self._messages)]
        device = Device(pin[:32], "Apple", "apple", pin)
        batch.begin_ping({})
        index = batch.add_delivery(device.client_id, APNS)
        request_id = f"{pin[:8]}-{pin[8:12]}-{pin[12:16]}-{pin[16:20]}-{pin[20:32]}".encode()
        return Delivery(batch, index, device, self._route, message, message.path(pin), request_id)

    def _offer(self) -> None:
        if self._batches:
            self._route.lane.offer(self._batches.pop(), bulk=False)

    def _on_batch_complete(self, batch: DeliveryBatch) -> None:
        self._complete += 1
        self._offer()
        if self._complete % 50 == 0:
            progress(self._complete / self._count)
        if self._complete == self._count:
            self._done.set()


async def send(order: SenderOrder) -> SenderResult:
    """Execute one run.

    Raises:
        RhoPushError: there is no lane, or not all deliveries were accepted.
    """
    apns = ApnsSettings(
        key_file=Path(order.key_file),
        key_id=order.key_id,
        team_id=order.team_id,
        topic=order.topic,
        host="127.0.0.1",
        port=order.port,
        ca_file=Path(order.ca_file),
        connections_max=order.connections,
    )
    metrics = Metrics()
    lanes = LaneManager(Settings(apns=apns), metrics, _NoTokenReports())
    route = lanes.route(APNS, "")
    if isinstance(route, str):
        raise RhoPushError(f"no lane: {route}")
    feeder = Feeder(order, route)
    # As in a worker when it is ready; here it also excludes the prepared deliveries from collection.
    gc_policy.limit_collections()
    before = _accepted(metrics)
    begun, cpu = time.perf_counter(), time.process_time()
    await feeder.run()
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    accepted = _accepted(metrics) - before
    await lanes.close(1.0)
    return SenderResult(accepted, seconds, cpu_s, feeder.payload_bytes)


def _accepted(metrics: Metrics) -> int:
    return int(metrics.deliveries(APNS, "", "accepted", "").value)


class _NoTokenReports(IgnoredTokenReports):
    def on_dead_token(
        self, send: Delivery, verdict: Verdict, index: TokenScope, others: tuple[str, ...] = ()
    ) -> None:
        raise RhoPushError("the accept-all provider reported a token as dead")


if __name__ == "__main__":
    structured.configure(worker=0)
    for each in orders(SenderOrder):
        result(uvloop.run(send(each)))
