"""Acknowledgements: the app on a device reports that it acted on a ping."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from gateway.delivery.provider_registry import installed
from gateway.errors import NotAllowed, NotFound
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.openapi.values import (
    CLIENT_ID_TEXT,
    FLAG,
    Part,
    answer,
    json_answer,
    json_body,
    members,
)
from gateway.http_api.requests import json_response, named_client, parameters
from protocols.devices import Device, platform_of
from protocols.numbers import hexadecimal

_ID_LENGTH: Final = 32
_DELIVERED: Final = frozenset({"queued", "open", "done"})
"""States in which a device may have got the ping."""
_CLIENT: Final[Part] = {
    "type": "object",
    "required": ["client_id"],
    "properties": {
        "client_id": CLIENT_ID_TEXT | {"description": "The device: a client of the session's user."}
    },
}
_RECORDED: Final = members(
    {
        "recorded": FLAG
        | {
            "description": "false: the device acknowledged the ping before, or its receipt has "
            "as many acknowledgements as it may.",
        }
    }
)
_OPERATION: Final = answer(
    json_answer(_RECORDED, {"recorded": True}, "The acknowledgement is in the receipt of the ping."),
    requestBody=json_body(_CLIENT, {"client_id": "0123456789abcdef0123456789abcdef"}),
)


def acknowledgement_route(context: HandlerContext) -> HttpRoute:
    """Return the route."""
    summary = "Acknowledge a ping on a device"
    handler = AcknowledgementRoute(context).acknowledge
    return HttpRoute("POST", "/rc/v1/pings/{ping_id}/ack", "session", summary, handler, operation=_OPERATION)


class AcknowledgementRoute:
    """The route with which a device acknowledges a ping.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context
        self._device_types = installed().device_types

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Record that the app on a device acted on a ping."""
        context = self._context
        found = await parameters(request, context.services)
        if context.services.settings.auth.devices == "off":
            raise NotAllowed("devices have no sessions: the setting auth.devices is off")
        user = await context.require_device(request)
        client_id = named_client(request, found)
        client = await context.clients.show(client_id)
        if client["user_id"] != user.login:
            raise NotAllowed("the client belongs to another user", field="client_id")
        ping_id = request.match_info["ping_id"].lower()
        recorded = await self._record(ping_id, client_id)
        if recorded:
            context.services.metrics.acknowledgements(self._provider(client)).inc()
        return json_response({"recorded": recorded})

    async def _record(self, ping_id: str, client_id: str) -> bool:
        services = self._context.services
        if services.acknowledgements is None or hexadecimal(ping_id, _ID_LENGTH) is None:
            raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
        recorded = await services.acknowledgements.acknowledge(ping_id, client_id)
        if recorded is None:
            # A device may be faster than the write of the receipt.
            report = await services.receipts.report(ping_id)
            if report is None or report["state"] not in _DELIVERED:
                raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
            recorded = await services.acknowledgements.acknowledge(ping_id, client_id, known=True)
        return bool(recorded)

    def _provider(self, client: Mapping[str, str | None]) -> str:
        device = Device(
            "", client["device_type"] or "", client["device_push_type"] or "", client["device_pin"] or ""
        )
        return platform_of(device, self._device_types) or ""
