"""The audit: what operators did."""

from typing import Any, Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, json_content
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import text_of
from gateway.registry.audit_log import LIMIT, LIMIT_MAX
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_TEXT: Final = {"type": "string"}
_RECORD: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "at": _TEXT,
        "kind": {"type": "string", "enum": ["api_token", "token", "login", "gateway"]},
        "who": _TEXT | {"description": "Name of the token or login."},
        "client": _TEXT | {"description": "Address of the client."},
        "action": _TEXT,
        "outcome": _TEXT | {"description": "`done`, or the code of an error."},
        "omitted": {"type": "integer", "description": "Refused logins before this one without a record."},
    },
}
_PAGE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "records": {"type": "array", "items": _RECORD},
        "next_cursor": {"type": ["string", "null"]},
    },
}
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "since",
        "in": "query",
        "schema": _TEXT,
        "description": "Records from this time on: RFC 3339 with a zone, or seconds since 1970.",
    },
    {"name": "cursor", "in": "query", "schema": _TEXT, "description": "`next_cursor` of the page before."},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
    },
]


class AuditRoutes:
    """The route of the audit.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def page(self, _: web.Request, found: Parameters) -> object:
        """Return one page, the newest record first."""
        audit_log = self._context.services.audit_log
        if audit_log is None:
            raise NotFound("this process has no audit")
        since = found.get("since")
        limit = found.get("limit")
        if limit is not None and not isinstance(limit, str | int):
            raise InvalidField("limit must be a whole number", field="limit")
        return await audit_log.page(
            None if since is None else instant_ms(since, "since"),
            text_of(found, "cursor") if "cursor" in found else None,
            limit,
        )


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the route of the audit."""
    operation = {"parameters": _PARAMETERS, "responses": json_content(_PAGE, "The newest record first")}
    return [
        AdminRoute("GET", "/audit", Scope.ADMIN, "The audit", AuditRoutes(context).page, operation),
    ]
