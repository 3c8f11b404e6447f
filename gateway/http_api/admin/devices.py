"""The route of operators about the devices of a user."""

from typing import Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import CALLER, AdminRoute, Parameters, responds, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import FLAG, OPTIONAL_TIME, TEXT, list_of, members, query
from gateway.http_api.requests import text_of
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField

_DEVICE: Final = members(
    {
        "client_id": TEXT,
        "user_id": TEXT,
        "provider": TEXT,
        "device_type": TEXT | {"description": "As registered."},
        "app": TEXT,
        "token": TEXT | {"description": "The first characters of the push token, and its length."},
        "lane": TEXT | {"description": "The lane that serves the device; empty: none."},
        "reachable": FLAG | {"description": "Whether a ping would be delivered to the device."},
        "reason": TEXT | {"description": "Code of the reason why not, as in receipts; empty: none."},
        "text": TEXT | {"description": "The reason in words, or why the lane cannot send now."},
        "last_sync": OPTIONAL_TIME,
        "registered": OPTIONAL_TIME | {"description": "The last registration through this gateway."},
        "same_as": TEXT | {"description": "`repeated`: the client that a ping reaches instead."},
        "provider_reason": TEXT | {"description": "`dead_token`: the provider's reason."},
        "since": TEXT | {"description": "`dead_token`: time of the mark."},
    },
    optional=("same_as", "provider_reason", "since"),
)
_DEVICES: Final = members({"user_id": TEXT, "devices": list_of(_DEVICE)})
_EXAMPLE: Final = {
    "user_id": "bob",
    "devices": [
        {
            "client_id": "0123456789abcdef0123456789abcdef",
            "user_id": "bob",
            "provider": "apns",
            "device_type": "Apple",
            "app": "com.example.app",
            "token": "abababab… (64)",
            "lane": "apns:com.example.app",
            "reachable": True,
            "reason": "",
            "text": "",
            "last_sync": "2030-01-31T09:30:00Z",
            "registered": None,
        }
    ],
}
_USER: Final = query("user_id", TEXT | {"minLength": 1}, "The login.") | {"required": True}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the route of devices."""
    return [
        AdminRoute(
            "GET",
            "/devices",
            Scope.READ,
            "A user's devices, and what makes them unreachable",
            DevicesRoutes(context).list,
            responds(_DEVICES, _EXAMPLE, "The user's devices", parameters=[_USER]),
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
