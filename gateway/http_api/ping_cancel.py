"""The route that cancels a ping."""

from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.errors import CancellationsFull, NotFound, NotStored, PingFinished
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.openapi.values import EXAMPLE_ID, TEXT, json_answer, members
from gateway.http_api.ping import is_visible_to
from gateway.http_api.requests import json_response, parameters
from gateway.registry.scopes import Scope, require_scope

_CANCELLED: Final = members(
    {
        "ping_id": TEXT,
        "state": TEXT
        | {
            "enum": ["open", "cancelled"],
            "description": "`open` while deliveries may be in flight, `cancelled` once the ping is finished.",
        },
    }
)
_OPERATION: Final[Mapping[str, Any]] = {
    "responses": {
        "202": json_answer(
            _CANCELLED,
            {"ping_id": EXAMPLE_ID, "state": "cancelled"},
            "The cancellation is durable. A repetition has the same response.",
        )
    }
}


def cancel_route(context: HandlerContext) -> HttpRoute:
    """Return the route."""

    async def cancel(request: web.Request) -> web.Response:
        services = context.services
        caller = await context.principal_of(request, await parameters(request, services))
        async with context.audited(request, caller, f"DELETE {request.path}"):
            require_scope(caller, Scope.PING)
            if services.canceller is None:
                raise NotFound("this process does not cancel pings")
            ping_id = request.match_info["ping_id"]
            if caller.apps is not None:
                report = await services.receipts.report(ping_id)
                if report is None or not await is_visible_to(services, report, caller):
                    raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
            state = await services.canceller.cancel(ping_id)
        return json_response({"ping_id": ping_id, "state": state}, status=202)

    return HttpRoute(
        "DELETE",
        "/rc/v1/pings/{ping_id}",
        "operator",
        "Cancel a ping",
        cancel,
        operation=_OPERATION,
        errors=(PingFinished, NotStored, CancellationsFull),
    )
