"""Routes of operators about the lanes of all workers of all gateways."""

from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, json_content, stores_of
from gateway.http_api.context import HandlerContext
from gateway.registry.scopes import Scope
from gateway.telemetry.lane_overview import LaneOverview, lane_overviews
from gateway.telemetry.worker_report import WorkerReport

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_STATES: Final = {
    "link": {"type": "string", "enum": ["untried", "up", "down"]},
    "breaker": {"type": "string", "enum": ["closed", "half_open", "open"]},
    "throttle": {"type": "string", "enum": ["free", "ramping", "paused"]},
}
_NUMBERS: Final = {
    "backlog": _COUNT | {"description": "Deliveries that wait in the memory of workers."},
    "in_flight": _COUNT | {"description": "Requests without a response."},
    "parked": _COUNT | {"description": "Deliveries that wait in Redis, over all gateways."},
}
_WORKER_LANE: Final = {
    "type": "object",
    "properties": {
        "gateway": _TEXT,
        "slot": _COUNT,
        **_NUMBERS,
        **_STATES,
        "link_error": _TEXT,
        "breaker_reason": _TEXT,
        "error": _TEXT | {"description": "Why the lane cannot send now; empty: it can."},
        "connections": {"type": ["integer", "null"]},
    },
}
_LANE: Final = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "provider": _TEXT,
        "host": _TEXT,
        **_NUMBERS,
        "connections": _COUNT,
        **_STATES,
        "reason": _TEXT | {"description": "Why a worker cannot send; empty: all can."},
        "workers": {"type": "array", "items": _WORKER_LANE},
    },
}
_WORKER: Final = {
    "type": "object",
    "properties": {
        "gateway": _TEXT,
        "slot": _COUNT,
        "version": _TEXT,
        "pid": _COUNT,
        "at_ms": _COUNT | {"description": "Time of the report, epoch milliseconds."},
        "started_ms": _COUNT,
        "cpu_s": {"type": "number"},
        "rss_bytes": _COUNT,
        "connections": _COUNT,
    },
}
_LANES: Final = {
    "type": "object",
    "properties": {
        "lanes": {"type": "array", "items": _LANE},
        "workers": {"type": "array", "items": _WORKER},
    },
}
_RESET: Final = {
    "type": "object",
    "properties": {"lane": _TEXT, "workers": _COUNT | {"description": "Workers that have this lane."}},
}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of lanes."""
    on = LanesRoutes(context)
    return [
        AdminRoute(
            "GET",
            "/lanes",
            Scope.READ,
            "The lanes of all workers of all gateways; at most some seconds old",
            on.list,
            {"responses": json_content(_LANES, "The lanes and the workers")},
        ),
        AdminRoute(
            "POST",
            "/lanes/{lane}/reset",
            Scope.ADMIN,
            "Close the circuit breaker of a lane in every worker, within about a second",
            on.reset,
            {
                "responses": json_content(_RESET, "The request is stored, and every worker reads it")
                | {"404": {"description": "No worker has such a lane."}}
            },
        ),
    ]


class LanesRoutes:
    """The routes of lanes.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def list(self, _request: web.Request, _found: Parameters) -> object:
        """All lanes, and all workers."""
        reports = await stores_of(self._context).worker_reports.read()
        return {
            "lanes": [_lane(overview) for overview in lane_overviews(reports)],
            "workers": [_worker(report) for report in reports],
        }

    async def reset(self, request: web.Request, _found: Parameters) -> object:
        """Close the breaker of a lane everywhere."""
        stores, lane = stores_of(self._context), request.match_info["lane"]
        reports = await stores.worker_reports.read()
        workers = sum(any(one.name == lane for one in report.lanes) for report in reports)
        if not workers:
            raise NotFound("no worker has a lane of this name (GET lanes lists them)", field="lane")
        await stores.lane_resets.request(lane)
        return {"lane": lane, "workers": workers}


def _lane(overview: LaneOverview) -> dict[str, object]:
    shown: dict[str, object] = msgspec.structs.asdict(overview)
    omitted = {"name", "provider", "host"}
    shown["workers"] = [
        {"gateway": one.gateway, "slot": one.slot}
        | {name: value for name, value in msgspec.structs.asdict(one.lane).items() if name not in omitted}
        for one in overview.workers
    ]
    return shown


def _worker(report: WorkerReport) -> dict[str, object]:
    return {
        name: value
        for name, value in msgspec.structs.asdict(report).items()
        if name not in {"lanes", "lanes_omitted", "counts"}
    }
