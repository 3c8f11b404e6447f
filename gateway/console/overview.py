"""The overview and the lanes: the newest reports of all workers, and the time series.

One reader for each process serves all open pages: it reads Redis only while a page is open, at most once in `EVERY_S`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.clock import SHARED_CLOCK
from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.history import FINE, SERIES, Series, point
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.console.recorder import History, Reports
from gateway.console.streams import Event, LiveStreams
from gateway.errors import NotFound, StoreDown
from gateway.http_api.admin.admin_route import SUBJECT
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.requests import json_response
from gateway.telemetry.lane_overview import LaneOverview, lane_overviews
from gateway.telemetry.worker_report import WorkerReport

EVERY_S: Final = 2.0
_BY_NAME: Final[Mapping[str, Series]] = {series.name: series for series in SERIES}


class CpuUse(NamedTuple):
    """The CPU use of a worker at its last report.

    Attributes:
        at_ms: epoch ms of the report.
        cpu_s: CPU seconds of the process until then.
        share: CPU seconds a second since the report before; None: there is only one report.
    """

    at_ms: int
    cpu_s: float
    share: float | None = None


class OverviewReader:
    """Reads the newest state for all open pages of this process.

    Args:
        services: the services behind the HTTP API.
        reports: of all workers.
        history: the time series.
    """

    def __init__(self, services: Dependencies, reports: Reports, history: History) -> None:
        self._services = services
        self._reports = reports
        self._history = history
        self._cpu: dict[str, CpuUse] = {}
        """CPU use of each worker that runs, by its name."""
        self._state: dict[str, Any] = {}
        self._read_s = float("-inf")
        self._lock = asyncio.Lock()

    async def state(self) -> dict[str, Any]:
        """Return the newest state, at most `EVERY_S` old."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            # A stream asks every `EVERY_S`: the state that it got the last time must count as old.
            if loop.time() - self._read_s >= EVERY_S * 0.75:
                self._state = await self._read()
                self._read_s = loop.time()
        return self._state

    async def points(self, series: Series) -> list[dict[str, Any]]:
        """Return the points of a series, oldest first. Raises StoreDown."""
        return [point(sample) for sample in await self._history.read(series)]

    async def _read(self) -> dict[str, Any]:
        try:
            reports = await self._reports.read()
            newest = (await self.points(FINE))[-1:]
        except StoreDown as error:
            return {"at": SHARED_CLOCK.now_ms(), "problems": {"redis": error.message}, "lanes": []}
        readiness = await self._services.readiness()
        metrics = self._services.metrics
        return {
            "at": SHARED_CLOCK.now_ms(),
            "problems": {**readiness.degraded, **readiness.missing},
            "point": newest[0] if newest else None,
            "depth": metrics.queue_depth.value,
            "age": metrics.queue_oldest_age_seconds.value,
            "scheduled": metrics.scheduled_pings.value,
            "waiting": sum(report.counts.waiting_devices for report in reports),
            "lanes": lanes_of(reports),
            "credentials": credentials_of(reports),
            "workers": self._workers(reports),
        }

    def _workers(self, reports: Iterable[WorkerReport]) -> list[dict[str, Any]]:
        """Return the row of each worker."""
        self._cpu = {report.name: _cpu_of(report, self._cpu.get(report.name)) for report in reports}
        return [_worker(report, self._cpu[report.name].share) for report in reports]


def _cpu_of(report: WorkerReport, before: CpuUse | None) -> CpuUse:
    """Return the CPU use of a worker; its share is that between its last two reports."""
    if before is None:
        return CpuUse(report.at_ms, report.cpu_s)
    if report.at_ms == before.at_ms:
        return before
    share = before.share
    if report.at_ms > before.at_ms and report.cpu_s >= before.cpu_s:
        share = (report.cpu_s - before.cpu_s) * 1000 / (report.at_ms - before.at_ms)
    return CpuUse(report.at_ms, report.cpu_s, share)


def _worker(report: WorkerReport, share: float | None) -> dict[str, Any]:
    """Return the row of a worker."""
    return {
        "name": report.name,
        "version": report.version,
        "pid": report.pid,
        "cpu": None if share is None else round(share * 100, 1),
        "rss": report.rss_bytes,
        "connections": report.connections,
        "started": report.started_ms,
    }


class OverviewPages(PageSet):
    """The routes of the overview and the lanes.

    Args:
        context: the state shared by the routes.
        pages: renders them.
        reader: reads the state.
        streams: serves live data.
    """

    def __init__(
        self, context: HandlerContext, pages: Pages, reader: OverviewReader, streams: LiveStreams
    ) -> None:
        super().__init__(context, pages)
        self._reader = reader
        self._streams = streams

    async def overview(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the overview."""
        state = await self._reader.state()
        return await self.page("overview.html", visit, state=state, series=SERIES)

    async def lanes(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the table of lanes."""
        return await self.page("lanes.html", visit, state=await self._reader.state())

    async def reset(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Close the circuit breaker of a lane in every worker."""
        operators, lane = self._services.operators, text_field(form, "lane")
        request[SUBJECT] = lane
        if operators is None or lane not in {row["name"] for row in (await self._reader.state())["lanes"]}:
            raise NotFound("no worker has a lane of this name", field="lane")
        await operators.lane_resets.request(lane)
        await self.audit(request, visit, f"/lanes/reset {lane}")
        return redirect("/console/lanes")

    async def series(self, request: web.Request, _: Visit) -> web.Response:
        """Return one series as JSON."""
        series = _BY_NAME.get(request.match_info["name"])
        if series is None:
            raise NotFound("there is no such series")
        points = await self._reader.points(series)
        about = {"at": SHARED_CLOCK.now_ms(), "step": series.step_ms, "period": series.period_ms}
        return json_response(about | {"points": points})

    async def live(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Send the newest state every two seconds."""
        return await self._streams.serve(request, visit, self._states())

    async def _states(self) -> AsyncIterator[Event]:
        while True:
            yield "state", await self._reader.state()
            await asyncio.sleep(EVERY_S)


def lanes_of(reports: Iterable[WorkerReport]) -> list[dict[str, Any]]:
    """Return one row for each lane: sums over all workers, and the worst state."""
    return [_lane(overview) for overview in lane_overviews(reports)]


def _lane(overview: LaneOverview) -> dict[str, Any]:
    lanes = [worker.lane for worker in overview.workers]
    has_connections = any(lane.connections is not None for lane in lanes)
    return {
        "name": overview.name,
        "host": overview.host,
        "backlog": overview.backlog,
        "in_flight": overview.in_flight,
        "parked": overview.parked,
        "connections": overview.connections if has_connections else None,
        "link": overview.link,
        "breaker": overview.breaker,
        "throttle": overview.throttle,
        "error": next((lane.error for lane in lanes if lane.error), ""),
    }


def credentials_of(reports: Iterable[WorkerReport]) -> list[dict[str, Any]]:
    """Return the credentials whose expiry is known, the first to expire first."""
    soonest: dict[tuple[str, str], float] = {}
    for report in reports:
        for one in report.counts.credential_expiry:
            key = (one.app, one.provider)
            soonest[key] = min(one.seconds, soonest.get(key, one.seconds))
    rows = sorted(soonest.items(), key=lambda item: item[1])
    return [{"app": app, "provider": provider, "seconds": seconds} for (app, provider), seconds in rows]
