"""The reports of this worker about itself, and the operators' requests that it reads at the same time."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from gateway import __version__
from gateway.clock import SHARED_CLOCK
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.lane_report import lane_reports
from gateway.errors import StoreDown
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.operator_stores import OperatorStores
from gateway.metrics import Metrics
from gateway.queue.worker_reports import REPORT_S
from gateway.scheduling.background import keep_running
from gateway.server.worker_channels import WorkerContext
from gateway.telemetry.worker_report import CountsBuilder, WorkerCounts, WorkerReport

POLL_S: Final = 1.0
"""Interval between two reads of the operators' requests."""
_SLICE: Final = 256
"""States of metrics that are read without a pause: some 0.1 ms."""
_REMOVE_S: Final = 1.0
"""Longest wait for Redis when the worker ends."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_KILOBYTE: Final = 1024


class WorkerReporter:
    """Writes the report of this worker, and resets lanes at an operator's request.

    Args:
        name: gateway id and slot.
        operators: where the report is stored, and the operators' requests.
        lanes: the lanes of this worker.
        metrics: the counts of this worker.
        connections: returns the number of open HTTP connections.
    """

    def __init__(
        self,
        name: tuple[str, int],
        operators: OperatorStores,
        lanes: LaneManager,
        metrics: Metrics,
        connections: Callable[[], int],
    ) -> None:
        self._gateway, self._slot = name
        self._reports = operators.worker_reports
        self._resets = operators.lane_resets
        self._lanes = lanes
        self._metrics = metrics
        self._connections = connections
        self._started_ms = SHARED_CLOCK.now_ms()
        self._reported_s = float("-inf")

    async def run(self) -> None:
        """Work until the task is cancelled. An error only delays the reports."""
        await keep_running(self._repeat, "worker reports", restart_s=POLL_S, on_error=self._on_error)

    async def _repeat(self) -> None:
        while True:
            await self.step()
            await asyncio.sleep(POLL_S)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("worker_report").inc()

    async def step(self) -> None:
        """Carry out new requests, and report if a report is due or a lane was reset.

        Raises:
            StoreDown: Redis did not answer.
        """
        wanted = set(await self._resets.unseen())
        for lane in self._lanes.all() if wanted else ():
            if lane.name in wanted:
                lane.reset_breaker()
        now_s = time.monotonic()
        if wanted or now_s - self._reported_s >= REPORT_S - POLL_S / 2:
            self._reported_s = now_s
            await self._reports.write(await self.report())

    async def report(self) -> WorkerReport:
        """The present state of this worker."""
        counts = await _counts(self._metrics)
        lanes, omitted = lane_reports(self._lanes.all())
        return WorkerReport(
            gateway=self._gateway,
            slot=self._slot,
            at_ms=SHARED_CLOCK.now_ms(),
            version=__version__,
            pid=os.getpid(),
            started_ms=self._started_ms,
            cpu_s=round(time.process_time(), 3),
            rss_bytes=_rss_bytes(),
            connections=self._connections(),
            lanes=lanes,
            lanes_omitted=omitted,
            counts=counts,
        )


@asynccontextmanager
async def open_worker_reports(
    context: WorkerContext, lanes: LaneManager, services: Dependencies
) -> AsyncIterator[None]:
    """Report in the background; at the end, remove the report of this worker."""
    operators = services.operators
    if operators is None:
        raise ValueError("the services have no stores of operators")
    name = context.gateway_id, context.slot
    limits = services.connections
    reporter = WorkerReporter(name, operators, lanes, services.metrics, lambda: limits.main + limits.push)
    task = asyncio.create_task(reporter.run(), name="worker reports")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreDown, TimeoutError):
            async with asyncio.timeout(_REMOVE_S):
                await operators.worker_reports.remove(f"{context.gateway_id}:{context.slot}")


async def _counts(metrics: Metrics) -> WorkerCounts:
    """Read the metrics in slices: a worker with many apps has thousands of counts."""
    states, builder = metrics.values.states(), CountsBuilder()
    while stretch := tuple(islice(states, _SLICE)):
        builder.add(stretch)
        await asyncio.sleep(0)
    return builder.counts()


def _rss_bytes() -> int:
    """Resident memory of this process (proc(5), statm); the highest so far where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KILOBYTE
