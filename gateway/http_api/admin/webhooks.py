"""Routes of operators about the endpoints of webhooks."""

from typing import Any, Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import SUBJECT, AdminRoute, Parameters, responds
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import WebhookOperations
from gateway.http_api.openapi.values import (
    INSTANT,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    TEXT,
    TIME,
    WHOLE,
    json_body,
    list_of,
    members,
)
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_STATE: Final = TEXT | {"enum": ["delivering", "failing", "disabled"]}
_ENDPOINT: Final = members(
    {
        "name": TEXT,
        "url": TEXT | {"description": "The address without its query."},
        "events": list_of(TEXT),
        "state": _STATE,
        "oldest_age_s": WHOLE
        | {
            "description": "Age of the oldest event that the endpoint has not accepted, while deliveries fail."
        },
        "error": OPTIONAL_TEXT | {"description": "The error of the last attempt."},
        "next_attempt": OPTIONAL_TIME,
        "delivered": WHOLE | {"description": "Messages that the endpoint accepted."},
        "failed": WHOLE | {"description": "Attempts that failed."},
        "lost": WHOLE | {"description": "Records that were removed from the outbox before their delivery."},
    }
)
_LIST: Final = members({"webhooks": list_of(_ENDPOINT)})
_REPLAY: Final = members(
    {
        "endpoint": TEXT,
        "state": _STATE | {"description": "disabled: the events wait until the endpoint is enabled."},
        "since": TIME,
        "oldest": OPTIONAL_TIME | {"description": "The oldest record of the outbox; null: it is empty."},
    }
)
_TEST: Final = members(
    {
        "endpoint": TEXT,
        "id": TEXT | {"description": "The webhook-id of the message."},
        "result": TEXT | {"enum": ["delivered", "failed", "disabled"]},
        "status": {"type": ["integer", "null"], "description": "The HTTP status of the answer."},
        "error": OPTIONAL_TEXT,
    }
)
_SINCE: Final = {
    "type": "object",
    "required": ["since"],
    "additionalProperties": False,
    "properties": {
        "since": INSTANT
        | {"description": "RFC 3339 with a time zone, or seconds since 1970; rounded down to a second."}
    },
}
_EXAMPLE_TIME: Final = "2030-01-31T09:30:00Z"
_EXAMPLE: Final = {
    "name": "orders",
    "url": "https://example.com/hook",
    "events": ["ping.completed"],
    "state": "delivering",
    "oldest_age_s": 0,
    "error": None,
    "next_attempt": None,
    "delivered": 120,
    "failed": 1,
    "lost": 0,
}
_EXAMPLE_TEST: Final = {
    "endpoint": "orders",
    "id": "0123456789abcdef01234567",
    "result": "delivered",
    "status": 204,
    "error": None,
}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of webhooks."""
    on = WebhookRoutes(context)
    return [
        AdminRoute(
            "GET",
            "/webhooks",
            Scope.READ,
            "The endpoints of webhooks with their states, without secrets",
            on.list,
            responds(_LIST, {"webhooks": [_EXAMPLE]}, "The endpoints"),
        ),
        AdminRoute(
            "POST",
            "/webhooks/{name}/replay",
            Scope.ADMIN,
            "Deliver the events since an instant to an endpoint again, as far as the outbox holds them",
            on.replay,
            responds(
                _REPLAY,
                {
                    "endpoint": "orders",
                    "state": "delivering",
                    "since": _EXAMPLE_TIME,
                    "oldest": _EXAMPLE_TIME,
                },
                "The delivery begins within a second",
                requestBody=json_body(_SINCE, {"since": _EXAMPLE_TIME}, form=False),
            ),
        ),
        AdminRoute(
            "POST",
            "/webhooks/{name}/test",
            Scope.ADMIN,
            "Send one signed message of the type webhook.test to an endpoint",
            on.test,
            responds(_TEST, _EXAMPLE_TEST, "The result of the attempt"),
        ),
    ]


class WebhookRoutes:
    """The routes of webhooks.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def list(self, _request: web.Request, _found: Parameters) -> dict[str, Any]:
        """All endpoints."""
        operations = self._context.services.webhooks
        return {"webhooks": [] if operations is None else await operations.listing()}

    async def replay(self, request: web.Request, found: Parameters) -> dict[str, Any]:
        """Deliver events again."""
        since = found.get("since")
        if since is None:
            raise InvalidField("since is missing: RFC 3339 or seconds since 1970", field="since")
        since_ms = instant_ms(since, "since")
        request[SUBJECT] = f"since {since}"
        return await self._operations().replay(request.match_info["name"], since_ms)

    async def test(self, request: web.Request, _found: Parameters) -> dict[str, Any]:
        """Send a test message."""
        return await self._operations().test(request.match_info["name"])

    def _operations(self) -> WebhookOperations:
        operations = self._context.services.webhooks
        if operations is None:
            raise NotFound("this gateway has no webhooks")
        return operations
