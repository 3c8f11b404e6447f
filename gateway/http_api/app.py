"""The aiohttp application: the table of routes, and the middleware that turns errors into responses."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.typedefs import Middleware

from gateway.errors import ExpectationRefused, HeadTooLarge, NotFound, RhoPushError
from gateway.http_api import responses
from gateway.http_api.aiohttp_handler import AiohttpConnection, FinalResponse, RequestMaker
from gateway.http_api.aiohttp_parser import MalformedRequest
from gateway.http_api.bodies import BODY_ADMISSION, BODY_RESERVATION, BodyAdmission
from gateway.http_api.client_address import CLIENT_ADDRESSES, ClientAddresses
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import Handler, HttpRoute, Refusal
from gateway.http_api.requests import refuse_unclear
from gateway.http_api.routes import routes
from gateway.limits.body_budget import BodyReservation
from protocols.response_headers import SAFETY_HEADERS

_SLASHES: Final = re.compile(r"/{2,}")
_PART: Final = re.compile(r"\{(\w+)\}")
_STREAMING: Final = web.AppKey("streaming", frozenset)
"""Handlers that consume a body while it arrives, and limit it themselves."""
_REFUSALS: Final = web.AppKey[Mapping[Handler, Refusal]]("refusals")
"""The refusals of routes that do not answer with JSON, by their handlers."""


FurtherRoutes = Callable[[HandlerContext], Sequence[HttpRoute]]
"""Returns routes that are served beside the API and are not in its OpenAPI document."""


def no_routes(_: HandlerContext) -> Sequence[HttpRoute]:
    """Return no further routes."""
    return ()


def make_app(context: HandlerContext, further: Sequence[HttpRoute] = ()) -> web.Application:
    """Create the application with all routes of the API, and further ones."""
    # `requests.read_body` limits the body, because the limit can change while the gateway runs.
    app = web.Application(middlewares=[_close_while_draining, _errors_of(context)], client_max_size=0)
    app[CLIENT_ADDRESSES] = ClientAddresses(context.services.settings.http.trusted_proxies)
    app[BODY_ADMISSION] = BodyAdmission(context.services, context.tokens)
    table = [*routes(context), *further]
    app[_STREAMING] = frozenset(route.handler for route in table if route.streams)
    app[_REFUSALS] = {route.handler: route.refusal for route in table if route.refusal is not None}
    for route in table:
        handler = _deprecated(route) if route.deprecated else route.handler
        resource = app.router.add_resource(_pattern(route.path))
        methods = [route.method]
        if route.method == hdrs.METH_GET and not route.changes_state:
            # A HEAD must not change state, which some of RhoConnect's GET routes do.
            methods.append(hdrs.METH_HEAD)
        for method in methods:
            resource.add_route(method, handler, expect_handler=_continue_later)
    everything = app.router.add_resource(r"/{path:[\s\S]*}")
    everything.add_route(hdrs.METH_ANY, _no_route, expect_handler=_continue_later)
    app.on_response_prepare.append(_complete)
    return app


def _pattern(path: str) -> str:
    """Return aiohttp's pattern of a path. The router compares decoded paths; a segment may contain all but a slash."""
    return _PART.sub(r"{\1:[^/]+}", unquote(path))


def with_single_slashes(make: RequestMaker) -> RequestMaker:
    """Wrap `make` so that each run of slashes in a path becomes one slash before routing.

    Clients in the field use base URLs that end in a slash, and RhoConnect accepts them:
    Rack::Protection::PathTraversal, which Sinatra loads, joins the non-empty segments of a path. A trailing slash is
    kept, as RhoConnect keeps it.
    """

    def request(message: RawRequestMessage, *args: Any) -> web.BaseRequest:
        path = message.url.raw_path
        if "//" in path:
            url = message.url.with_path(_SLASHES.sub("/", path), encoded=True, keep_query=True)
            message = message._replace(url=url)
        return make(message, *args)

    return request


async def _continue_later(request: web.Request) -> web.StreamResponse | None:
    """Leave `100 Continue` to the reader of the body (`BodyReader.begin`), once the body may arrive (RFC 9110
    §10.1.1)."""
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() != "100-continue":
        return _refused(request, ExpectationRefused("Expect must be 100-continue"))
    return None


async def _no_route(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def _deprecated(route: HttpRoute) -> Handler:
    """Answer on a deprecated route, with RhoConnect's Warning header."""

    async def answer(request: web.Request) -> web.StreamResponse:
        found = await route.handler(request)
        found.headers["Warning"] = route.warning
        return found

    return answer


@web.middleware
async def _close_while_draining(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While the API shuts down, make each response the last of its connection, despite pipelined requests."""
    answer = await handler(request)
    protocol = request.protocol
    if isinstance(protocol, AiohttpConnection) and protocol.draining:
        answer.force_close()
    return answer


def _errors_of(context: HandlerContext) -> Middleware:
    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        # No variable of this frame refers to the error: `gateway.http_api.token_cache.principal_of` gives the reason.
        holding = request[BODY_RESERVATION] = BodyReservation(context.services.bodies)
        try:
            refuse_unclear(request)
            if request.match_info.handler not in request.app[_STREAMING]:
                await request.app[BODY_ADMISSION].admit(request)
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _refused(
                request, NotFound(f"there is no route {request.method} {request.rel_url.raw_path}")
            )
        except RhoPushError as error:
            context.services.metrics.pings_refused(error.label).inc()
            return _refused(request, error, await _answer_of(request, error))
        finally:
            holding.release()

    return errors


async def _answer_of(request: web.Request, error: RhoPushError) -> web.Response | None:
    """Return the route's own response to a refused request; None: it has none."""
    refusal = request.app[_REFUSALS].get(request.match_info.handler)
    return None if refusal is None else await refusal(request, error)


def _refused(request: web.Request, error: RhoPushError, answer: web.Response | None = None) -> web.Response:
    """Return the response to a refused request: `answer`, or the JSON of the error."""
    protocol = request.protocol
    if request.content.exception() is not None and isinstance(protocol, AiohttpConnection):
        # The body is malformed: no further request can be read.
        return FinalResponse(responses.of_error(error), protocol)
    if answer is None:
        answer = responses.response(responses.of_error(error))
    if not request.content.is_eof():  # the rest of the body is discarded
        answer.force_close()
        if isinstance(protocol, AiohttpConnection):
            protocol.linger(request.app[BODY_ADMISSION].large)
    if isinstance(error, (MalformedRequest, HeadTooLarge)):  # further data is not read
        answer.force_close()
    return answer


async def _complete(_: web.Request, answer: web.StreamResponse) -> None:
    """Remove names of software and versions, and add `SAFETY_HEADERS`, which aiohttp's own responses lack."""
    answer.headers.pop(hdrs.SERVER, None)
    for name, value in SAFETY_HEADERS:
        answer.headers.setdefault(name, value)
