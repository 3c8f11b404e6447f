"""The core of a worker without ingresses and without its reading loops, so that a test executes each step itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.dead_tokens import DeadTokens
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.proofs import Proofs
from gateway.delivery.token_trust import TokenTrust
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.fanout.broadcast import BroadcastSplitter, BroadcastTasks
from gateway.fanout.broadcast_targets import BroadcastTargets
from gateway.fanout.consumer import QueueConsumer, Readers
from gateway.fanout.everybody import EverybodySplitter
from gateway.fanout.in_flight import InFlight
from gateway.fanout.planner import Planner
from gateway.fanout.settlement import NO_EVENTS
from gateway.metrics import Metrics
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import Streams
from gateway.queue.entries import Lease
from gateway.queue.everybody import EverybodyStore
from gateway.queue.outbox import EventPlan
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.registry.registry import DeviceRegistry
from gateway.registry.user_scan import UserScan
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import load
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping

RECEIPT_S = 3600
_PATIENCE_S = 30.0
_Value = TypeVar("_Value")


class ClaimingPlanner(Planner):
    """Claims what a test hands over unclaimed, as `QueueConsumer` does with what it reads."""

    async def deliver(self, leases: Sequence[Lease]) -> list[Lease]:
        held = self._in_flight.holds
        return await super().deliver(
            [lease for lease in leases if held(lease) or self._in_flight.claim((lease,))]
        )


@dataclass
class WorkerCore:
    """The parts of one consumer, each real."""

    queue: QueueProducer
    streams: Streams
    reader: RedisConnection
    registry: DeviceRegistry
    receipts: Receipts
    lanes: LaneManager
    in_flight: InFlight
    targets: BroadcastTargets
    planner: Planner
    splitter: BroadcastSplitter
    broadcast_tasks: BroadcastTasks
    consumer: QueueConsumer
    cancelled: CancelledPings

    def cancel(self, *ping_ids: str) -> None:
        """Let this worker know that pings are cancelled, as its watch does."""
        self.cancelled.ids |= set(ping_ids)
        self.lanes.end_cancelled()

    async def append(self, *users: str, **fields: Any) -> str:
        """Queue a ping, and return its id."""
        fields.setdefault("message", "hello")
        return (await self.queue.append(Ping(users=users, **fields), 100)).ping_id

    async def read(self, stream: str, count: int = 100) -> list[Lease]:
        """Read new entries of a stream without waiting."""
        return await self.streams.read(self.reader, (stream,), count, 1)

    async def report(self, ping_id: str) -> dict[str, Any]:
        """The receipt of a ping that exists."""
        found = await self.receipts.report(ping_id)
        assert found is not None, "the ping is unknown"
        return found

    async def done(self, ping_id: str) -> dict[str, Any]:
        """The receipt, once all work in hand is settled."""
        assert await self.in_flight.wait_empty(_PATIENCE_S)
        return await self.report(ping_id)


@asynccontextmanager
async def pipeline(
    redis: str,
    folder: Path,
    settings: dict[str, Any] | None = None,
    *,
    name: str = "tested:0",
    events: EventPlan = NO_EVENTS,
) -> AsyncIterator[WorkerCore]:
    """Open the parts of the consumer `name`. Leaving the block ends it as a kill would: nothing is drained.

    Args:
        redis: the store's address.
        folder: for a settings file.
        settings: the `:gateway:` part.
        name: the consumer.
        events: the events that settlements store.
    """
    file = folder / f"{name.replace(':', '-')}.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": settings or {}}}))
    said = load(file, "development", {})
    address, metrics = RedisAddress.parse(redis), Metrics()
    async with AsyncExitStack() as stack:
        # Ended last, when Redis is no longer reachable: the state of a killed worker is lost.
        scheduler = Scheduler()
        stack.push_async_callback(lambda: lanes.close(0))

        async def link(purpose: str) -> RedisConnection:
            made = RedisConnection(address, purpose)
            await made.open(30)
            stack.push_async_callback(made.close)
            return made

        main = await link("streams")
        streams = Streams(main, name, RECEIPT_S)
        await streams.prepare()
        look_ups = await link("registry")
        registry = DeviceRegistry(look_ups, scheduler=scheduler)
        dead = DeadTokens(registry, TokenTrust(Proofs(look_ups), metrics))
        stack.push_async_callback(dead.close)
        unsaved = UnsavedVerdicts()
        cancelled = CancelledPings(metrics)
        lanes = LaneManager(said, metrics, dead, scheduler=scheduler, unsaved=unsaved, cancelled=cancelled)
        in_flight = InFlight(
            streams, scheduler, metrics=metrics, unsaved=unsaved, events=events, cancelled=cancelled
        )
        broadcasts = BroadcastStore(main, RECEIPT_S)
        targets = BroadcastTargets(broadcasts, registry, lanes, scheduler)
        planner = ClaimingPlanner(registry, targets, lanes, streams, in_flight, metrics, scheduler, cancelled)
        scans = EverybodyStore(main, RECEIPT_S)
        everybody = EverybodySplitter(scans, UserScan(look_ups), in_flight, metrics, cancelled)
        splitter = BroadcastSplitter(broadcasts, in_flight, everybody, cancelled)
        broadcast_tasks = BroadcastTasks(splitter, in_flight)
        readers = Readers(await link("small"), await link("bulk"), await link("broadcasts"))
        consumer = QueueConsumer(streams, readers, planner, broadcast_tasks, in_flight)
        limits = BacklogLimits(said.limits.queue_pings, said.limits.queue_bytes)
        queue = QueueProducer(await link("append"), limits, scheduler=scheduler)
        yield WorkerCore(
            queue=queue,
            streams=streams,
            reader=await link("reader"),
            registry=registry,
            receipts=Receipts(main),
            lanes=lanes,
            in_flight=in_flight,
            targets=targets,
            planner=planner,
            splitter=splitter,
            broadcast_tasks=broadcast_tasks,
            consumer=consumer,
            cancelled=cancelled,
        )


async def until(condition: Callable[[], Any], timeout_s: float = _PATIENCE_S) -> None:
    """Check every few milliseconds until a condition is true, or its awaited result is."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.005)


async def read_until(
    wanted: _Value, read: Callable[[], Awaitable[_Value]], timeout_s: float = _PATIENCE_S
) -> _Value:
    """Read a value until it is the wanted one, or the time has passed; return the last one, for an assert."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while await read() != wanted:
                await asyncio.sleep(0.005)
    return await read()


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


def entries(leases: Sequence[Lease]) -> list[str]:
    """The ids of leased entries."""
    return [lease.entry for lease in leases]
