"""One route under `/rc/v1/admin`: authorization, parameters and the JSON response are the same for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web

from gateway.errors import AppNotAllowed, NotFound, RhoPushError
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.openapi.values import JSON, Part, answer, json_answer
from gateway.http_api.operator_stores import OperatorStores
from gateway.http_api.requests import json_response, parameters
from gateway.registry.audit_log import DONE
from gateway.registry.scopes import Principal, Scope, require_scope
from protocols.errors import InvalidField

PREFIX: Final = "/rc/v1/admin"
_COMMON: Final = frozenset({"api_token"})
"""Parameters of every route."""
_SHOWN: Final = 64
"""Most characters of an unknown name in an error."""
CALLER: Final = web.RequestKey("caller", Principal)
"""Key of the caller in the request that a handler receives."""
SUBJECT: Final = web.RequestKey("subject", str)
"""Key of a name that the path does not contain, for the record of the request in the audit. A handler sets it, and
never to a secret."""
Parameters = dict[str, Any]
AdminHandler = Callable[[web.Request, Parameters], Awaitable[object]]
"""Answers one request: takes the request and its parameters, and returns the JSON value of the response."""


class AdminRoute(NamedTuple):
    """One route of operators.

    Attributes:
        method: the HTTP method.
        path: path after `PREFIX`; `{name}` stands for one segment.
        scope: the permission that the caller needs.
        summary: one line for the OpenAPI document.
        handler: see `AdminHandler`.
        operation: see `HttpRoute.operation`.
        honours_apps: whether the handler keeps the caller's limit to apps (`CALLER`). Any other route refuses callers
            with such a limit.
        errors: see `HttpRoute.errors`; the default is that of a process without the stores of operators.
    """

    method: str
    path: str
    scope: Scope
    summary: str
    handler: AdminHandler
    operation: Mapping[str, Any]
    honours_apps: bool = False
    errors: tuple[type[RhoPushError], ...] = (NotFound,)


def bind(context: HandlerContext, route: AdminRoute) -> HttpRoute:
    """Return the HTTP route: it reads the parameters and authorizes the caller before `route.handler` runs.

    A request that may change something is recorded in the audit, with its outcome. If the description of its body
    allows no further members, an unknown parameter is refused: it may be the misspelt name of one that narrows the
    change.
    """
    known = _known(route.operation)

    async def run(request: web.Request, found: Parameters, caller: Principal) -> web.Response:
        require_scope(caller, route.scope)
        if caller.apps is not None and not route.honours_apps:
            raise AppNotAllowed(f"{caller.name} is limited to apps, which this route does not support")
        request[CALLER] = caller
        if known is not None:
            _refuse_unknown(found, known)
        return json_response(await route.handler(request, found))

    async def respond(request: web.Request) -> web.Response:
        found = await parameters(request, context.services)
        caller = await context.principal_of(request, found)
        if route.method == hdrs.METH_GET:
            return await run(request, found, caller)
        outcome = RhoPushError.code
        try:
            response = await run(request, found, caller)
            outcome = DONE
        except RhoPushError as error:
            outcome = error.code
            raise
        finally:
            action = f"{route.method} {request.path} {request.get(SUBJECT, '')}".rstrip()
            await context.audit(request, caller, action, outcome)
        return response

    return HttpRoute(
        route.method,
        PREFIX + route.path,
        "operator",
        route.summary,
        respond,
        operation=route.operation,
        errors=route.errors,
    )


def _known(operation: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the parameters of a route whose description excludes all others; None: it excludes none."""
    schema = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {})
    return None if schema.get("additionalProperties", True) else _COMMON | {*schema["properties"]}


def _refuse_unknown(found: Parameters, known: frozenset[str]) -> None:
    """Refuse a parameter that the route does not have.

    Raises:
        InvalidField: `field` names the parameter.
    """
    for name in found:
        if name not in known:
            names = ", ".join(sorted(known - _COMMON))
            raise InvalidField(f"{name[:_SHOWN]} is unknown; the parameters are {names}", field=name[:_SHOWN])


def stores_of(context: HandlerContext) -> OperatorStores:
    """Return the stores of operators.

    Raises:
        NotFound: this process has none.
    """
    stores = context.services.operators
    if stores is None:
        raise NotFound("this process does not serve the routes of operators")
    return stores


def responds(schema: Part, example: object, text: str = "Done", **operation: Any) -> Mapping[str, Any]:
    """Return the operation of a route whose success is a 200 with JSON.

    Args:
        schema: of the JSON.
        example: of the JSON.
        text: the description of the response.
        operation: further members of the operation.
    """
    return answer(json_answer(schema, example, text), **operation)
