"""Periodic work of a worker: it sweeps lanes, measures the queue, deletes old receipts, collects cycles while idle, and
determines readiness, once per second."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from gateway.clock import SHARED_CLOCK
from gateway.delivery.certificate_expiry import CertificateExpiryMonitor
from gateway.delivery.lane_manager import LaneManager
from gateway.errors import StoreDown
from gateway.http_api.dependencies import Readiness
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.queue.idle_consumers import CHECK_S
from gateway.scheduling.background import keep_running
from gateway.server.gc_policy import FullCollections
from gateway.server.redis_checks import RedisChecks
from gateway.settings import Settings
from gateway.store.health import RedisHealth

_EVERY_S: Final = 1.0
_OLDEST_S: Final = 120.0
"""Age of the oldest unread ping, in seconds, beyond which the gateway is not ready: it does not keep up."""


class Stores(NamedTuple):
    """The Redis servers whose health is checked.

    Attributes:
        needed: those that every ping needs.
        further: those that only some pings need.
    """

    needed: Sequence[RedisHealth] = ()
    further: Sequence[RedisHealth] = ()


class Maintenance:
    """Runs the periodic work of a worker.

    Args:
        settings: provide the age and the number of receipts.
        streams: the streams to measure and trim.
        lanes: the lanes to sweep.
        metrics: receive the measurements.
        stores: see `Stores`.
        checks: the durability and the permissions that Redis provides.
        refused: the error with which Redis refuses the queue's entries; None: it does not refuse them.
    """

    def __init__(
        self,
        settings: Settings,
        streams: Streams,
        lanes: LaneManager,
        metrics: Metrics,
        stores: Stores,
        checks: RedisChecks,
        refused: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._lanes = lanes
        self._metrics = metrics
        self._stores, self._further = stores
        self._checks = checks
        self._refused = refused
        self._oldest_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._certificate_expiry = CertificateExpiryMonitor(settings, metrics)
        self._collections = FullCollections(time.monotonic())

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        self._settings = settings
        self._certificate_expiry.apply_settings(settings)
        self._checks.apply_settings(settings)

    def start(self) -> None:
        """Start the tasks."""
        for store in (*self._stores, *self._further):  # checked before the ingresses open
            store.probe()
        # A separate task, so that an unresponsive Redis delays no lane.
        self._tasks = [
            asyncio.create_task(self._repeated(step, every_s), name=f"maintenance:{step.__name__}")
            for step, every_s in (
                (self._run_once, _EVERY_S),
                (self._measure, _EVERY_S),
                *self._checks.repeated,
                (self._streams.remove_idle_consumers, CHECK_S),
            )
        ]

    async def close(self) -> None:
        """Stop the tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def readiness(self) -> Readiness:
        """Return the parts of this gateway that do not work.

        A part that only some pings need makes the gateway not ready if no lane at all can send, or if `readyz.strict`
        is set.
        """
        problems = {store.name: store.error_text for store in self._stores if store.error_text is not None}
        problems |= {name: text for name, text in self._checks.problems.items() if name not in problems}
        if not problems and (refused := self._refused()) is not None:
            problems["queue"] = f"cannot be created or read: {refused}"
        elif self._oldest_s > _OLDEST_S:
            problems["queue"] = f"the oldest ping has waited for {int(self._oldest_s)} s"
        degraded, none_sends = self._degraded()
        if none_sends or self._settings.readyz.strict:
            return Readiness(problems | degraded, {})
        return Readiness(problems, degraded)

    def _degraded(self) -> tuple[dict[str, str], bool]:
        """The problems of parts that only some pings need, and whether no lane at all can send."""
        lanes = {f"lane {lane.name}": lane.error_text for lane in self._lanes.all()}
        failing = {name: text for name, text in lanes.items() if text is not None}
        stores = {store.name: store.error_text for store in self._further}
        problems = {name: text for name, text in stores.items() if text is not None} | failing
        return problems, bool(failing) and len(failing) == len(lanes)

    async def _repeated(self, step: Callable[[], Awaitable[None]], every_s: float) -> None:
        async def repeat() -> None:
            while True:
                await asyncio.sleep(every_s)
                await step()

        await keep_running(repeat, f"maintenance:{step.__name__}", restart_s=0, on_error=self._on_error)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("maintenance").inc()

    async def _run_once(self) -> None:
        for store in (*self._stores, *self._further):
            store.probe()
        for lane in tuple(self._lanes.all()):
            lane.sweep()
        self._lanes.close_idle()
        self._certificate_expiry.update(SHARED_CLOCK.now_s())
        SHARED_CLOCK.warn_of_skew()
        quiet = not any(lane.in_flight or lane.backlog for lane in self._lanes.all())
        if self._collections.due(time.monotonic(), quiet=quiet):
            gc.collect()

    async def _measure(self) -> None:
        depth, oldest_ms = await self._streams.backlog()
        self._oldest_s = SHARED_CLOCK.seconds_since([oldest_ms])[0] if oldest_ms else 0.0
        self._metrics.queue_depth.set(depth)
        self._metrics.queue_oldest_age_seconds.set(self._oldest_s)
        waiting = await self._streams.scheduled()
        self._metrics.scheduled_pings.set(waiting.pings)
        self._metrics.scheduled_bytes.set(waiting.bytes)
        self._lanes.update_parked(await self._streams.parked())
        receipts = self._settings.receipts
        await self._streams.trim_receipts(receipts.ttl_s * 1000, receipts.max_bytes)
