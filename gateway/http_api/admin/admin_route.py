"""One route under `/rc/v1/admin`: authorization, parameters and the JSON response are the same for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.operator_stores import OperatorStores
from gateway.http_api.requests import json_response, parameters
from gateway.registry.scopes import Principal, Scope

PREFIX: Final = "/rc/v1/admin"
CALLER: Final = web.RequestKey("caller", Principal)
"""The caller of a route, in the request that its handler gets."""
Parameters = dict[str, Any]
AdminHandler = Callable[[web.Request, Parameters], Awaitable[object]]
"""Answers one request: takes the request and its parameters, and returns the JSON value of the response."""


class AdminRoute(NamedTuple):
    """One route of operators.

    Attributes:
        method: the HTTP method.
        path: path behind `PREFIX`; `{name}` stands for one segment.
        scope: the permission that the caller needs.
        summary: one line for the OpenAPI document.
        handler: see `AdminHandler`.
        operation: see `HttpRoute.operation`.
        honours_apps: whether the handler keeps the caller's limit to apps (`CALLER`). Any other route refuses callers
            with such a limit.
    """

    method: str
    path: str
    scope: Scope
    summary: str
    handler: AdminHandler
    operation: Mapping[str, Any]
    honours_apps: bool = False


def bind(context: HandlerContext, route: AdminRoute) -> HttpRoute:
    """Return the HTTP route: it reads the parameters and authorizes the caller before `route.handler` runs."""

    async def answer(request: web.Request) -> web.Response:
        found = await parameters(request, context.services)
        request[CALLER] = await context.require_scope(request, found, route.scope)
        return json_response(await route.handler(request, found))

    return HttpRoute(
        route.method, PREFIX + route.path, "operator", route.summary, answer, operation=route.operation
    )


def stores_of(context: HandlerContext) -> OperatorStores:
    """Return the stores of operators.

    Raises:
        NotFound: this process has none.
    """
    stores = context.services.operators
    if stores is None:
        raise NotFound("this process answers no requests of operators")
    return stores


def json_content(schema: Mapping[str, Any], text: str = "Done") -> dict[str, Any]:
    """Return the OpenAPI `responses` of a route whose success is a 200 with JSON of this schema."""
    return {"200": {"description": text, "content": {"application/json": {"schema": schema}}}}
