"""Routes of operators about the marks of dead push tokens."""

from typing import Any, Final

from aiohttp import web

from gateway.http_api.admin.admin_route import CALLER, AdminRoute, Parameters, json_content, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import optional_text
from gateway.registry.dead_marks import DeadFilter
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_TEXT: Final = {"type": "string"}
_FILTERS: Final = {
    "app": _TEXT | {"description": "Only devices of this app."},
    "provider": _TEXT | {"description": "Only devices of this provider."},
    "reason": _TEXT | {"description": "Only marks with this reason of the provider."},
    "since": {
        "type": ["string", "number"],
        "description": "Only marks from this time on: RFC 3339 with a zone, or seconds since 1970.",
    },
    "cursor": _TEXT | {"description": "`next_cursor` of the answer before."},
}
_LIMIT: Final = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
_NEXT: Final = {"type": ["string", "null"], "description": "null: there are no more."}
_PAGE: Final = {
    "type": "object",
    "properties": {
        "devices": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **dict.fromkeys(("client_id", "user_id", "provider", "app", "token", "reason"), _TEXT),
                    "since": {"type": ["string", "null"], "format": "date-time"},
                    "everywhere": {
                        "type": "boolean",
                        "description": "false: the token is refused at some hosts of the provider alone.",
                    },
                },
            },
        },
        "next_cursor": _NEXT,
    },
}
_BODY: Final = {
    "type": "object",
    "properties": {
        **_FILTERS,
        "devices": {"type": "array", "maxItems": 1000, "items": _TEXT, "description": "Client ids."},
        "all": {"type": "boolean", "description": "Every mark. Without it, something must narrow the marks."},
    },
}
_RESTORED: Final = {
    "type": "object",
    "properties": {
        "restored": {"type": "integer", "description": "Number of marks that were removed."},
        "next_cursor": _NEXT | {"description": "Not null: repeat the request with this cursor for the rest."},
    },
}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of dead tokens."""
    on = DeadRoutes(context)
    query = [
        {"in": "query", "name": name, "schema": schema}
        for name, schema in {**_FILTERS, "limit": _LIMIT}.items()
    ]
    return [
        AdminRoute(
            "GET",
            "/dead",
            Scope.READ,
            "Devices whose push token a provider reported as dead, in no order",
            on.list,
            {"parameters": query, "responses": json_content(_PAGE, "One page")},
            honours_apps=True,
        ),
        AdminRoute(
            "POST",
            "/dead/restore",
            Scope.DEVICES,
            "Remove the marks of dead tokens, so that the next ping reaches the devices",
            on.restore,
            {
                "requestBody": {"content": {"application/json": {"schema": _BODY}}},
                "responses": json_content(_RESTORED, "The marks are removed"),
            },
            honours_apps=True,
        ),
    ]


class DeadRoutes:
    """The routes of dead tokens.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def list(self, request: web.Request, found: Parameters) -> object:
        """One page of the marks."""
        limit = found.get("limit")
        if limit is not None and not isinstance(limit, str | int):
            raise InvalidField("limit must be a whole number", field="limit")
        wanted, cursor = _filter(request, found), optional_text(found, "cursor")
        return await stores_of(self._context).dead_marks.page(wanted, limit, cursor)

    async def restore(self, request: web.Request, found: Parameters) -> object:
        """Remove marks."""
        wanted, every, devices = _filter(request, found), found.get("all", False), found.get("devices")
        if every not in (True, False, "true", "false"):
            raise InvalidField("all must be true or false", field="all")
        marks = stores_of(self._context).dead_marks
        if devices is not None:
            return await marks.restore_devices(_texts(devices), wanted)
        if wanted.empty and every not in (True, "true"):
            raise InvalidField(
                "name devices, an app, a provider, a reason or a time (since), or set all to true",
                field="all",
            )
        return await marks.restore(wanted, optional_text(found, "cursor"))


def _filter(request: web.Request, found: Parameters) -> DeadFilter:
    since = found.get("since")
    return DeadFilter(
        optional_text(found, "app"),
        optional_text(found, "provider"),
        optional_text(found, "reason"),
        None if since is None else instant_ms(since, "since"),
        request[CALLER].apps,
    )


def _texts(devices: Any) -> list[str]:
    if (
        not isinstance(devices, list)
        or not devices
        or not all(isinstance(one, str) and one for one in devices)
    ):
        raise InvalidField("devices must be a list of client ids", field="devices")
    return devices
