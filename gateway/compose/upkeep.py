"""Once a second, a worker sweeps its lanes, measures the queue, drops old receipts and, when quiet, collects cycles;
and whether it is ready."""

import asyncio
import contextlib
import gc
import time
from collections.abc import Mapping
from typing import Final

import structlog

from gateway.compose.collector import FullCollections
from gateway.delivery.expiries import Expiries
from gateway.delivery.lanes import Lanes
from gateway.errors import StoreDown
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.store.streams import Streams

_log = structlog.get_logger("upkeep")

_EVERY_S: Final = 1.0
_STALE_S: Final = 5.0
"""Without a measurement of the queue for so long, Redis counts as gone."""
_OLDEST_S: Final = 120.0
"""A ping that was not even looked at for so long: the gateway is not keeping up, and says so by readiness."""


class Upkeep:
    """Keeps a worker's house.

    Args:
        settings: for receipts' age and room.
        streams: what is measured and trimmed.
        lanes: what is swept.
        metrics: where it is told.
    """

    def __init__(self, settings: Settings, streams: Streams, lanes: Lanes, metrics: Metrics) -> None:
        self._settings = settings
        self._streams = streams
        self._lanes = lanes
        self._metrics = metrics
        self._measured_at = time.monotonic()
        self._oldest_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._expiries = Expiries(settings, metrics)
        self._collections = FullCollections(time.monotonic())

    def renew(self, settings: Settings) -> None:
        """Take over new settings."""
        self._settings = settings
        self._expiries.renew(settings)

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="upkeep")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def readiness(self) -> Mapping[str, str]:
        """What keeps this gateway from working, by part; empty: ready."""
        troubles: dict[str, str] = {}
        if time.monotonic() - self._measured_at > _STALE_S:
            troubles["redis"] = "does not answer"
        if self._oldest_at and time.time() - self._oldest_at > _OLDEST_S:
            troubles["queue"] = f"the oldest ping waits for {int(time.time() - self._oldest_at)} s"
        for lane in self._lanes.all():
            if lane.trouble is not None:
                troubles[f"lane {lane.name}"] = lane.trouble
        return troubles

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            (failed,) = await asyncio.gather(self._step(), return_exceptions=True)
            if isinstance(failed, StoreDown):
                self._metrics.store_errors("upkeep").inc()
                _log.debug("store_down", error=failed.message)
            elif failed is not None:  # a defect: without sweeping, lanes would stand still unseen
                _log.error("upkeep_failed", exc_info=failed)

    async def _step(self) -> None:
        for lane in tuple(self._lanes.all()):
            lane.sweep()
        self._expiries.tell(time.time())
        quiet = not any(lane.in_flight or lane.backlog for lane in self._lanes.all())
        if self._collections.due(time.monotonic(), quiet=quiet):
            gc.collect()
        await self._measure()

    async def _measure(self) -> None:
        now = time.time()
        depth, self._oldest_at = await self._streams.backlog()
        self._metrics.queue_depth.set(depth)
        self._metrics.queue_oldest_seconds.set(max(0.0, now - self._oldest_at) if self._oldest_at else 0.0)
        self._lanes.heard_parked(await self._streams.parked())
        self._measured_at = time.monotonic()
        receipts = self._settings.receipts
        await self._streams.trim_receipts(int((now - receipts.ttl_s) * 1000), receipts.max_bytes)
