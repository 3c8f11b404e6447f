"""The HTTP API: accepts pings and registrations. `open_http_api` serves it on a bound socket."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from aiohttp import web

from gateway.http_api.aiohttp_handler import AiohttpConnection, report_begun
from gateway.http_api.aiohttp_parser import HEADERS_MAX
from gateway.http_api.app import FurtherRoutes, make_app, no_routes, with_single_slashes
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import (
    CompletionSource,
    Dependencies,
    HttpTimeouts,
    ReceiptReader,
)
from gateway.http_api.fast_path import PingServer
from gateway.queue.ping_queue import PingQueue
from gateway.settings import Settings
from protocols.http1.request_head import HEAD_BYTES

__all__ = [
    "CompletionSource",
    "Dependencies",
    "HttpApi",
    "HttpTimeouts",
    "PingQueue",
    "ReceiptReader",
    "open_http_api",
]

_BACKLOG = 1_024
_LINGER_S = 10.0  # how long the rest of a refused body is read, so that its sender sees the response
_LAST_RESPONSE_S = 1.0  # time before the end at which callers that wait for verdicts get their response
_CLEANUP_S = 0.2  # aiohttp's share of the shutdown, after every connection is closed


class HttpApi:
    """The open HTTP API of one process.

    Args:
        context: the state shared by the routes.
        runner: the aiohttp server.
        fast_path: the listening protocol.
        server: the listener.
    """

    def __init__(
        self, context: HandlerContext, runner: web.AppRunner, fast_path: PingServer, server: asyncio.Server
    ) -> None:
        self._context = context
        self._services = context.services
        self._runner = runner
        self._fast_path = fast_path
        self._server = server

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings. Requests in progress end under the previous settings."""
        self._services.apply_settings(settings)
        self._fast_path.apply_settings()

    async def close(self, budget_s: float) -> None:
        """Stop accepting requests, answer the accepted requests, then close every connection.

        Callers that wait for verdicts get 504 shortly before the end.

        Args:
            budget_s: seconds after which the remaining connections are dropped.
        """
        self._server.close()
        self._fast_path.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(budget_s - _LAST_RESPONSE_S, 0.0)):
                await self._fast_path.empty.wait()
        self._services.completions.end_waits()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(budget_s, _LAST_RESPONSE_S)):
                await self._fast_path.empty.wait()
        self._fast_path.stop()
        await self._runner.cleanup()
        await self._context.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(1.0)


def _hand_over(
    server: web.Server,
    on_closed: Callable[[AiohttpConnection], None],
    used: Callable[[], int],
    **options: Any,
) -> AiohttpConnection:
    return AiohttpConnection(server, on_closed=on_closed, used=used, **options)


async def open_http_api(
    services: Dependencies, sock: socket.socket, further_routes: FurtherRoutes = no_routes
) -> HttpApi:
    """Serve the HTTP API on a bound socket, which several processes may share. Closing the API closes the socket.

    Args:
        services: the services behind the HTTP API.
        sock: the socket.
        further_routes: returns routes that are not part of the API, such as those of the console.
    """
    context = HandlerContext(services)
    runner = web.AppRunner(
        make_app(context, further_routes(context)), handle_signals=False, shutdown_timeout=_CLEANUP_S
    )
    await runner.setup()
    aiohttp_server = runner.server
    if aiohttp_server is None:
        raise RuntimeError("aiohttp created no server")
    aiohttp_server.request_factory = report_begun(with_single_slashes(aiohttp_server.request_factory))
    handler = partial(
        _hand_over,
        aiohttp_server,
        access_log=None,  # an access log would contain query strings, which may contain tokens
        keepalive_timeout=services.timeouts.idle_s,
        head_s=services.timeouts.head_s,
        read_s=services.timeouts.read_s,
        lingering_time=_LINGER_S,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADERS_MAX,
        auto_decompress=False,  # `bodies.BodyReader` decompresses, as far as a body is read
    )
    fast_path = PingServer(services, context.admission, handler)
    sock.setblocking(False)
    server = await asyncio.get_running_loop().create_server(fast_path, sock=sock, backlog=_BACKLOG)
    return HttpApi(context, runner, fast_path, server)
