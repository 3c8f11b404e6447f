"""The audit: the recorded actions of operators."""

from typing import Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, responds
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import (
    OPTIONAL_TEXT,
    QUERY_INSTANT,
    TEXT,
    TIME,
    WHOLE,
    list_of,
    members,
    query,
)
from gateway.http_api.requests import text_of
from gateway.registry.audit_log import LIMIT, LIMIT_MAX
from gateway.registry.scopes import Scope
from protocols.ping.fields import instant_ms

_RECORD: Final = members(
    {
        "at": TIME,
        "kind": TEXT | {"description": "`api_token`, `token`, `login` or `gateway`; empty: unreadable."},
        "who": TEXT | {"description": "Name of the token or login."},
        "client": TEXT | {"description": "Address of the client."},
        "action": TEXT,
        "outcome": TEXT | {"description": "`done`, or the code of an error."},
        "omitted": WHOLE | {"description": "Refused logins before this one without a record."},
    }
)
_PAGE: Final = members({"records": list_of(_RECORD), "next_cursor": OPTIONAL_TEXT})
_EXAMPLE: Final = {
    "records": [
        {
            "at": "2030-01-31T09:30:00.123Z",
            "kind": "token",
            "who": "deploy",
            "client": "192.0.2.7",
            "action": "DELETE /rc/v1/admin/tokens/old",
            "outcome": "done",
            "omitted": 0,
        }
    ],
    "next_cursor": None,
}
_LIMIT: Final = WHOLE | {"minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT}
_PARAMETERS: Final = [
    query(
        "since",
        QUERY_INSTANT,
        "Records from this time on: RFC 3339 with a zone, or seconds since 1970.",
    ),
    query("cursor", TEXT, "`next_cursor` of the page before."),
    query("limit", _LIMIT, "Most records of the response."),
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
        return await audit_log.page(
            None if since is None else instant_ms(since, "since"),
            text_of(found, "cursor") if "cursor" in found else None,
            found.get("limit"),
        )


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the route of the audit."""
    operation = responds(_PAGE, _EXAMPLE, "The newest record first", parameters=_PARAMETERS)
    return [
        AdminRoute("GET", "/audit", Scope.ADMIN, "The audit", AuditRoutes(context).page, operation),
    ]
