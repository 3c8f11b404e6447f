"""The doors: HTTP in, pings and registrations out. `open_http_api` opens them on a bound socket."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from aiohttp import web

from gateway.http_api.aiohttp_handler import AiohttpConnection, report_begun
from gateway.http_api.aiohttp_parser import HEADERS_MAX
from gateway.http_api.app import make_app, with_single_slashes
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import (
    CompletionSource,
    Dependencies,
    HttpTimeouts,
    ReceiptReader,
)
from gateway.http_api.fast_path import PingServer
from gateway.http_api.request_head import HEAD_BYTES
from gateway.queue.producer import PingQueue
from gateway.settings import Settings

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
_LINGER_S = 10.0  # how long the rest of a refused body is read away, so that its sender sees the answer
_LAST_RESPONSE_S = 1.0  # before the end, whoever waits for verdicts is told that they are still open
_CLEANUP_S = 0.2  # aiohttp's part in the closing, once every connection is gone or dropped


class HttpApi:
    """The open doors of one process.

    Args:
        context: what their routes share.
        runner: aiohttp's side.
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
        """Take over new settings. Requests that are under way end by the old ones."""
        self._services.apply_settings(settings)
        self._fast_path.apply_settings()

    async def close(self, budget_s: float) -> None:
        """Take nothing new, answer what was taken, then close every connection.

        A caller who waits for verdicts is told shortly before the end that they are still open.

        Args:
            budget_s: seconds after which connections are dropped all the same.
        """
        self._server.close()
        self._fast_path.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fast_path.empty.wait(), max(budget_s - _LAST_RESPONSE_S, 0.0))
        self._services.completions.end_waits()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fast_path.empty.wait(), min(budget_s, _LAST_RESPONSE_S))
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


async def open_http_api(services: Dependencies, sock: socket.socket) -> HttpApi:
    """Open the doors on a bound socket (many processes may share it). It is closed with the doors."""
    context = HandlerContext(services)
    runner = web.AppRunner(make_app(context), handle_signals=False, shutdown_timeout=_CLEANUP_S)
    await runner.setup()
    aiohttp_server = runner.server
    if aiohttp_server is None:
        raise RuntimeError("aiohttp made no server")
    aiohttp_server.request_factory = report_begun(with_single_slashes(aiohttp_server.request_factory))
    handler = partial(
        _hand_over,
        aiohttp_server,
        access_log=None,  # it would hold query strings, and those may hold tokens
        keepalive_timeout=services.timeouts.idle_s,
        head_s=services.timeouts.head_s,
        read_s=services.timeouts.read_s,
        lingering_time=_LINGER_S,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADERS_MAX,
        auto_decompress=False,  # `bodies.BodyReader` does, as far as a body is read
    )
    fast_path = PingServer(services, context.admission, handler)
    sock.setblocking(False)
    server = await asyncio.get_running_loop().create_server(fast_path, sock=sock, backlog=_BACKLOG)
    return HttpApi(context, runner, fast_path, server)
