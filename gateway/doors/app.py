"""The aiohttp application: the table of routes, and one place where errors become answers."""

from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from gateway.doors import answers
from gateway.doors.client_address import CLIENT_ADDRESSES, ClientAddresses
from gateway.doors.desk import Desk
from gateway.doors.handed import Handed, MalformedRequest
from gateway.doors.requests import refuse_unclear
from gateway.doors.routes import Handler, Route, routes
from gateway.errors import NotFound, RhoPushError
from protocols.response_headers import SAFETY_HEADERS


def make_app(desk: Desk) -> web.Application:
    """Make the application of all routes."""
    # The body's limit is ours (`requests.read_body`): it can change while the gateway runs.
    app = web.Application(middlewares=[_ending, _errors_of(desk)], client_max_size=0)
    app[CLIENT_ADDRESSES] = ClientAddresses(desk.services.settings.http.trusted_proxies)
    for route in routes(desk):
        handler = _warning(route) if route.deprecated else route.handler
        path = unquote(route.path)  # the router compares decoded paths
        if route.method == hdrs.METH_GET:
            # HEAD comes with a GET, unless that changes something: nobody expects it of a HEAD.
            app.router.add_get(path, handler, allow_head=not route.changes_state)
        else:
            app.router.add_route(route.method, path, handler)
    app.on_response_prepare.append(_complete)
    return app


def _warning(route: Route) -> Handler:
    """Answer an older name, and say that it is one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        found = await route.handler(request)
        found.headers["Warning"] = route.warning
        return found

    return answer


@web.middleware
async def _ending(request: web.Request, handler: Handler) -> web.StreamResponse:
    """While the doors close, an answer is the last of its connection, whatever was sent behind its request."""
    answer = await handler(request)
    protocol = request.protocol
    if isinstance(protocol, Handed) and protocol.draining:
        answer.force_close()
    return answer


def _errors_of(desk: Desk) -> Middleware:
    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        # No error is kept in a name of this frame: `gateway.doors.tokens.require_admin` says why.
        try:
            refuse_unclear(request)
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _refused(NotFound(f"there is no route {request.method} {request.path}"))
        except RhoPushError as error:
            desk.services.metrics.pings_refused(error.label).inc()
            return _refused(error)

    return errors


def _refused(error: RhoPushError) -> web.Response:
    answer = answers.response(answers.of_error(error))
    # The rest of the body is not read, or it is not known where it ends.
    if error.status in (408, 413) or isinstance(error, MalformedRequest):
        answer.force_close()
    return answer


async def _complete(_: web.Request, answer: web.StreamResponse) -> None:
    """Name no software and version, and let no answer go without `SAFETY_HEADERS`: aiohttp makes some itself."""
    answer.headers.pop(hdrs.SERVER, None)
    for name, value in SAFETY_HEADERS:
        answer.headers.setdefault(name, value)
