"""Routes of operators about the endpoints of webhooks."""

from typing import Any, Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, json_content
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import WebhookOperations
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_INSTANT: Final = {"type": "string", "format": "date-time"}
_ENDPOINT: Final = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "url": _TEXT | {"description": "The address without its query."},
        "events": {"type": "array", "items": _TEXT},
        "state": {"type": "string", "enum": ["delivering", "failing", "disabled"]},
        "oldest_age_s": _COUNT
        | {
            "description": "Age of the oldest event that the endpoint has not accepted, while deliveries fail."
        },
        "error": {"type": ["string", "null"], "description": "The error of the last attempt."},
        "next_attempt": {"type": ["string", "null"], "format": "date-time"},
        "delivered": _COUNT | {"description": "Messages that the endpoint accepted."},
        "failed": _COUNT | {"description": "Attempts that failed."},
        "lost": _COUNT | {"description": "Records that were removed from the outbox before their delivery."},
    },
}
_LIST: Final = {"type": "object", "properties": {"webhooks": {"type": "array", "items": _ENDPOINT}}}
_REPLAY: Final = {
    "type": "object",
    "properties": {
        "endpoint": _TEXT,
        "since": _INSTANT,
        "oldest": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "The oldest record of the outbox; null: it is empty.",
        },
    },
}
_TEST: Final = {
    "type": "object",
    "properties": {
        "endpoint": _TEXT,
        "id": _TEXT | {"description": "The webhook-id of the message."},
        "result": {"type": "string", "enum": ["delivered", "failed", "disabled"]},
        "status": {"type": ["integer", "null"], "description": "The HTTP status of the answer."},
        "error": {"type": ["string", "null"]},
    },
}
_UNKNOWN: Final = {"404": {"description": "There is no such endpoint."}}
_SINCE: Final = {
    "type": "object",
    "required": ["since"],
    "properties": {
        "since": {
            "type": ["string", "number"],
            "description": "RFC 3339 with a time zone, or seconds since 1970; rounded down to a second.",
        }
    },
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
            {"responses": json_content(_LIST, "The endpoints")},
        ),
        AdminRoute(
            "POST",
            "/webhooks/{name}/replay",
            Scope.ADMIN,
            "Deliver the events since an instant to an endpoint again, as far as the outbox holds them",
            on.replay,
            {
                "requestBody": {"required": True, "content": {"application/json": {"schema": _SINCE}}},
                "responses": json_content(_REPLAY, "The delivery begins within a second") | _UNKNOWN,
            },
        ),
        AdminRoute(
            "POST",
            "/webhooks/{name}/test",
            Scope.ADMIN,
            "Send one signed message of the type webhook.test to an endpoint",
            on.test,
            {"responses": json_content(_TEST, "The result of the attempt") | _UNKNOWN},
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
        return await self._operations().replay(request.match_info["name"], since_ms)

    async def test(self, request: web.Request, _found: Parameters) -> dict[str, Any]:
        """Send a test message."""
        return await self._operations().test(request.match_info["name"])

    def _operations(self) -> WebhookOperations:
        operations = self._context.services.webhooks
        if operations is None:
            raise NotFound("this gateway has no webhooks")
        return operations
