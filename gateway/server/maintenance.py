"""Once a second, a worker sweeps its lanes, measures the queue, drops old receipts and, when quiet, collects cycles;
and whether it is ready."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway.clock import SHARED
from gateway.delivery.certificate_expiry import Expiries
from gateway.delivery.lane_manager import Lanes
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.server.gc_policy import FullCollections
from gateway.server.redis_permissions import EVERY_S as PERMISSIONS_S
from gateway.server.redis_permissions import Permissions
from gateway.settings import Settings
from gateway.store.health import Health

_log = structlog.get_logger("upkeep")

_EVERY_S: Final = 1.0
_OLDEST_S: Final = 120.0
"""A ping that was not even looked at for so long: the gateway is not keeping up, and says so by readiness."""


class Upkeep:
    """Keeps a worker's house.

    Args:
        settings: for receipts' age and room.
        streams: what is measured and trimmed.
        lanes: what is swept.
        metrics: where it is told.
        stores: every Redis that pings need.
        permissions: what Redis refuses to its user.
        refused: what Redis says instead of giving the queue's entries; None: it gives them.
    """

    def __init__(
        self,
        settings: Settings,
        streams: Streams,
        lanes: Lanes,
        metrics: Metrics,
        stores: Sequence[Health],
        permissions: Permissions,
        refused: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._lanes = lanes
        self._metrics = metrics
        self._stores = stores
        self._permissions = permissions
        self._refused = refused
        self._oldest_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._expiries = Expiries(settings, metrics)
        self._collections = FullCollections(time.monotonic())

    def renew(self, settings: Settings) -> None:
        """Take over new settings."""
        self._settings = settings
        self._expiries.renew(settings)
        self._permissions.renew(settings)

    def start(self) -> None:
        """Begin."""
        for store in self._stores:  # answered before the doors open
            store.look()
        # Apart, so that a Redis that does not answer holds up no lane.
        self._tasks = [
            asyncio.create_task(_repeat(step, every_s, self._metrics), name=f"upkeep:{step.__name__}")
            for step, every_s in (
                (self._look, _EVERY_S),
                (self._measure, _EVERY_S),
                (self._permissions.look, PERMISSIONS_S),
            )
        ]

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def readiness(self) -> Mapping[str, str]:
        """What keeps this gateway from working, by part; empty: ready."""
        troubles = {store.name: store.trouble for store in self._stores if store.trouble is not None}
        troubles |= {name: text for name, text in self._permissions.troubles.items() if name not in troubles}
        if not troubles and (refused := self._refused()) is not None:
            troubles["queue"] = f"cannot be made or read: {refused}"
        elif self._oldest_s > _OLDEST_S:
            troubles["queue"] = f"the oldest ping waits for {int(self._oldest_s)} s"
        for lane in self._lanes.all():
            if lane.trouble is not None:
                troubles[f"lane {lane.name}"] = lane.trouble
        return troubles

    async def _look(self) -> None:
        for store in self._stores:
            store.look()
        for lane in tuple(self._lanes.all()):
            lane.sweep()
        self._expiries.tell(SHARED.now_s())
        SHARED.warn_of_skew()
        quiet = not any(lane.in_flight or lane.backlog for lane in self._lanes.all())
        if self._collections.due(time.monotonic(), quiet=quiet):
            gc.collect()

    async def _measure(self) -> None:
        depth, oldest_ms = await self._streams.backlog()
        self._oldest_s = SHARED.seconds_since([oldest_ms])[0] if oldest_ms else 0.0
        self._metrics.queue_depth.set(depth)
        self._metrics.queue_oldest_seconds.set(self._oldest_s)
        self._lanes.heard_parked(await self._streams.parked())
        receipts = self._settings.receipts
        await self._streams.trim_receipts(receipts.ttl_s * 1000, receipts.max_bytes)


async def _repeat(step: Callable[[], Awaitable[None]], every_s: float, metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(every_s)
        (failed,) = await asyncio.gather(step(), return_exceptions=True)
        if isinstance(failed, StoreDown):
            metrics.store_errors("upkeep").inc()
            _log.debug("store_down", error=failed.message)
        elif failed is not None:  # a defect: without sweeping, lanes would stand still unseen
            _log.error("upkeep_failed", exc_info=failed)
