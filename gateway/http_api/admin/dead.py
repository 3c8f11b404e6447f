"""Routes of operators about the marks of dead push tokens."""

from typing import Any, Final

from aiohttp import web

from gateway.http_api.admin.admin_route import (
    CALLER,
    SUBJECT,
    AdminRoute,
    Parameters,
    responds,
    stores_of,
)
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import (
    FLAG,
    INSTANT,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    QUERY_INSTANT,
    TEXT,
    WHOLE,
    json_body,
    list_of,
    members,
)
from gateway.http_api.requests import optional_text
from gateway.registry.dead_marks import DEVICES_MAX, LIMIT, LIMIT_MAX, DeadFilter
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_SHOWN_DEVICES: Final = 3
"""Devices that the audit names of a request that restores many: a record has some 100 characters."""
_NAME: Final = TEXT | {"minLength": 1}
_NAMES: Final = {
    "app": _NAME | {"description": "Only devices of this app."},
    "provider": _NAME | {"description": "Only devices of this provider."},
    "reason": _NAME | {"description": "Only marks with this reason of the provider."},
}
_SINCE: Final = {"description": "Only marks from this time on: RFC 3339 with a zone, or seconds since 1970."}
_CURSOR: Final = TEXT | {"description": "`next_cursor` of the answer before."}
_QUERY: Final = {
    **_NAMES,
    "since": QUERY_INSTANT | _SINCE,
    "cursor": _CURSOR,
    "limit": WHOLE | {"minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
}
_NEXT: Final = OPTIONAL_TEXT | {"description": "null: there are no more."}
_DEVICE: Final = members(
    {
        **dict.fromkeys(("client_id", "user_id", "provider", "app", "token", "reason"), TEXT),
        "since": OPTIONAL_TIME,
        "everywhere": FLAG
        | {"description": "false: the provider refuses the token only at some of its hosts."},
    }
)
_PAGE: Final = members({"devices": list_of(_DEVICE), "next_cursor": _NEXT})
_EXAMPLE: Final = {
    "devices": [
        {
            "client_id": "0123456789abcdef0123456789abcdef",
            "user_id": "eve",
            "provider": "apns",
            "app": "com.example.app",
            "token": "abababab… (64)",
            "reason": "Unregistered",
            "since": "2030-01-31T09:30:00Z",
            "everywhere": True,
        }
    ],
    "next_cursor": None,
}
_BODY: Final = {
    "type": "object",
    "description": "At least one filter, or `all`.",
    "additionalProperties": False,
    "properties": {
        **_NAMES,
        "since": INSTANT | _SINCE,
        "cursor": _CURSOR,
        "devices": list_of(_NAME) | {"minItems": 1, "maxItems": DEVICES_MAX, "description": "Client ids."},
        "all": FLAG | {"description": "Every mark; otherwise at least one filter is required."},
    },
}
_RESTORED: Final = members(
    {
        "restored": WHOLE | {"description": "Number of marks that were removed."},
        "next_cursor": OPTIONAL_TEXT
        | {"description": "Not null: repeat the request with this cursor for the rest."},
    }
)


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of dead tokens."""
    on = DeadRoutes(context)
    query = [{"in": "query", "name": name, "schema": schema} for name, schema in _QUERY.items()]
    return [
        AdminRoute(
            "GET",
            "/dead",
            Scope.READ,
            "Devices whose push token a provider reported as dead, in no order",
            on.list,
            responds(_PAGE, _EXAMPLE, "One page", parameters=query),
            honours_apps=True,
        ),
        AdminRoute(
            "POST",
            "/dead/restore",
            Scope.DEVICES,
            "Remove the marks of dead tokens, so that the next ping reaches the devices",
            on.restore,
            responds(
                _RESTORED,
                {"restored": 1, "next_cursor": None},
                "The marks are removed",
                requestBody=json_body(_BODY, {"app": "com.example.app"}, form=False),
            ),
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
        wanted, cursor = _filter(request, found), optional_text(found, "cursor")
        return await stores_of(self._context).dead_marks.page(wanted, found.get("limit"), cursor)

    async def restore(self, request: web.Request, found: Parameters) -> object:
        """Remove marks."""
        _refuse_empty(found)
        wanted, every, devices = _filter(request, found), found.get("all", False), found.get("devices")
        if every not in (True, False, "true", "false"):
            raise InvalidField("all must be true or false", field="all")
        marks = stores_of(self._context).dead_marks
        request[SUBJECT] = _subject(found)
        if devices is not None:
            return await marks.restore_devices(_texts(devices), wanted)
        if wanted.empty and every not in (True, "true"):
            raise InvalidField(
                "name devices, an app, a provider, a reason or a time (since), or set all to true",
                field="all",
            )
        return await marks.restore(wanted, optional_text(found, "cursor"))


def _refuse_empty(found: Parameters) -> None:
    """Refuse an empty filter, which would restore the devices of all apps, providers or reasons.

    Raises:
        InvalidField: `field` names the filter.
    """
    for name in _NAMES:
        if found.get(name) == "":
            raise InvalidField(f"{name} must not be empty", field=name)


def _filter(request: web.Request, found: Parameters) -> DeadFilter:
    since = found.get("since")
    return DeadFilter(
        optional_text(found, "app"),
        optional_text(found, "provider"),
        optional_text(found, "reason"),
        None if since is None else instant_ms(since, "since"),
        request[CALLER].apps,
    )


def _subject(found: Parameters) -> str:
    """Return the selection of devices, for the audit."""
    devices = found.get("devices")
    named = [f"{name}={found[name]}" for name in ("app", "provider", "reason", "since") if found.get(name)]
    listed = map(str, devices[:_SHOWN_DEVICES]) if isinstance(devices, list) else ()
    return " ".join((*named, *listed)) or "all"


def _texts(devices: Any) -> list[str]:
    if (
        not isinstance(devices, list)
        or not devices
        or not all(isinstance(one, str) and one for one in devices)
    ):
        raise InvalidField("devices must be a list of client ids", field="devices")
    return devices
