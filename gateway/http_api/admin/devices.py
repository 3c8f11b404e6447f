"""The route of operators about the devices of a user."""

from typing import Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import CALLER, AdminRoute, Parameters, json_content, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import text_of
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_DEVICE: Final = {
    "type": "object",
    "properties": {
        "client_id": _TEXT,
        "user_id": _TEXT,
        "provider": _TEXT,
        "device_type": _TEXT | {"description": "As registered."},
        "app": _TEXT,
        "token": _TEXT | {"description": "The first characters of the push token, and its length."},
        "lane": _TEXT | {"description": "The lane that serves the device; empty: none."},
        "reachable": {"type": "boolean", "description": "Whether a ping would be delivered to the device."},
        "reason": _TEXT | {"description": "Code of the reason why not, as in receipts; empty: none."},
        "text": _TEXT | {"description": "The reason in words, or why the lane cannot send now."},
        "last_sync": _TIME,
        "registered": _TIME | {"description": "The last registration through this gateway."},
        "same_as": _TEXT | {"description": "`repeated`: the client that a ping reaches instead."},
        "provider_reason": _TEXT | {"description": "`dead_token`: the provider's reason."},
        "since": _TEXT | {"description": "`dead_token`: time of the mark."},
    },
}
_DEVICES: Final = {
    "type": "object",
    "properties": {"user_id": _TEXT, "devices": {"type": "array", "items": _DEVICE}},
}
_USER: Final = {
    "in": "query",
    "name": "user_id",
    "required": True,
    "schema": _TEXT,
    "description": "The login.",
}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the route of devices."""
    responses = json_content(_DEVICES, "The user's devices") | {
        "404": {"description": "There is no such user, or the user has no device."},
        "413": {"description": "The user has too many devices to report them."},
    }
    return [
        AdminRoute(
            "GET",
            "/devices",
            Scope.READ,
            "A user's devices, and what makes them unreachable",
            DevicesRoutes(context).list,
            {"parameters": [_USER], "responses": responses},
            honours_apps=True,
        )
    ]


class DevicesRoutes:
    """The route of devices.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def list(self, request: web.Request, found: Parameters) -> object:
        """The devices of one user."""
        user = text_of(found, "user_id")
        if not user:
            raise InvalidField("user_id must name one user", field="user_id")
        devices = await stores_of(self._context).device_reports.of_user(user)
        apps = request[CALLER].apps
        if apps is not None:
            devices = [device for device in devices if device["app"] in apps]
        if not devices:
            raise NotFound("there is no such user, or the user has no device", field="user_id")
        return {"user_id": user, "devices": devices}
