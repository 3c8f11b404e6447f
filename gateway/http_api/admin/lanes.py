"""Routes of operators about the lanes of all workers of all gateways."""

from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, responds, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import TEXT, WHOLE, list_of, members
from gateway.registry.scopes import Scope
from gateway.telemetry.lane_overview import LaneOverview, lane_overviews
from gateway.telemetry.worker_report import WorkerReport

_STATES: Final = {
    "link": {"type": "string", "enum": ["untried", "up", "down"]},
    "breaker": {"type": "string", "enum": ["closed", "half_open", "open"]},
    "throttle": {"type": "string", "enum": ["free", "ramping", "paused"]},
}
_NUMBERS: Final = {
    "backlog": WHOLE | {"description": "Deliveries that wait in the memory of workers."},
    "in_flight": WHOLE | {"description": "Requests without a response."},
    "parked": WHOLE | {"description": "Deliveries that wait in Redis, over all gateways."},
}
_WORKER_LANE: Final = members(
    {
        "gateway": TEXT,
        "slot": WHOLE,
        **_NUMBERS,
        **_STATES,
        "link_error": TEXT,
        "breaker_reason": TEXT,
        "error": TEXT | {"description": "Why the lane cannot send now; empty: it can."},
        "connections": {"type": ["integer", "null"]},
    }
)
_LANE: Final = members(
    {
        "name": TEXT,
        "provider": TEXT,
        "host": TEXT,
        **_NUMBERS,
        "connections": WHOLE,
        **_STATES,
        "reason": TEXT | {"description": "Why a worker cannot send; empty: all can."},
        "workers": list_of(_WORKER_LANE),
    }
)
_WORKER: Final = members(
    {
        "gateway": TEXT,
        "slot": WHOLE,
        "version": TEXT,
        "pid": WHOLE,
        "at_ms": WHOLE | {"description": "Time of the report, epoch milliseconds."},
        "started_ms": WHOLE,
        "cpu_s": {"type": "number"},
        "rss_bytes": WHOLE,
        "connections": WHOLE,
    }
)
_LANES: Final = members({"lanes": list_of(_LANE), "workers": list_of(_WORKER)})
_RESET: Final = members({"lane": TEXT, "workers": WHOLE | {"description": "Workers that have this lane."}})
_EXAMPLE_NAME: Final = "apns:com.example.app"
_EXAMPLE_STATES: Final = {"link": "up", "breaker": "closed", "throttle": "free"}
_EXAMPLE_NUMBERS: Final = {"backlog": 0, "in_flight": 2, "parked": 0}
_EXAMPLE: Final = {
    "lanes": [
        {
            "name": _EXAMPLE_NAME,
            "provider": "apns",
            "host": "api.push.apple.com",
            **_EXAMPLE_NUMBERS,
            "connections": 1,
            **_EXAMPLE_STATES,
            "reason": "",
            "workers": [
                {
                    "gateway": "gateway-1",
                    "slot": 0,
                    **_EXAMPLE_NUMBERS,
                    **_EXAMPLE_STATES,
                    "link_error": "",
                    "breaker_reason": "",
                    "error": "",
                    "connections": 1,
                }
            ],
        }
    ],
    "workers": [
        {
            "gateway": "gateway-1",
            "slot": 0,
            "version": "1.0",
            "pid": 4711,
            "at_ms": 1_896_082_200_000,
            "started_ms": 1_896_000_000_000,
            "cpu_s": 12.5,
            "rss_bytes": 90_000_000,
            "connections": 40,
        }
    ],
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
            responds(_LANES, _EXAMPLE, "The lanes and the workers"),
        ),
        AdminRoute(
            "POST",
            "/lanes/{lane}/reset",
            Scope.ADMIN,
            "Close the circuit breaker of a lane in every worker, within about a second",
            on.reset,
            responds(
                _RESET,
                {"lane": _EXAMPLE_NAME, "workers": 2},
                "The request is stored, and every worker reads it",
            ),
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
            raise NotFound(
                "no worker has a lane of this name (GET /rc/v1/admin/lanes lists them)", field="lane"
            )
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
