"""The doors: HTTP in, pings and registrations out. `open_doors` opens them on a bound socket."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from aiohttp import web

from gateway.http_api.aiohttp_handler import Handed
from gateway.http_api.aiohttp_parser import HEADERS_MAX
from gateway.http_api.app import make_app, with_single_slashes
from gateway.http_api.context import Desk
from gateway.http_api.dependencies import PingQueue, PingWaiters, ReceiptReader, Services, Times
from gateway.http_api.fast_path import Front
from gateway.http_api.request_head import HEAD_BYTES
from gateway.settings import Settings

__all__ = [
    "Doors",
    "PingQueue",
    "PingWaiters",
    "ReceiptReader",
    "Services",
    "Times",
    "open_doors",
]

_BACKLOG = 1_024
_LINGER_S = 10.0  # how long the rest of a refused body is read away, so that its sender sees the answer
_FAREWELL_S = 1.0  # before the end, whoever waits for verdicts is told that they are still open
_CLEANUP_S = 0.2  # aiohttp's part in the closing, once every connection is gone or dropped


class Doors:
    """The open doors of one process.

    Args:
        desk: what their routes share.
        runner: aiohttp's side.
        front: the listening protocol.
        server: the listener.
    """

    def __init__(self, desk: Desk, runner: web.AppRunner, front: Front, server: asyncio.Server) -> None:
        self._desk = desk
        self._services = desk.services
        self._runner = runner
        self._front = front
        self._server = server

    def renew(self, settings: Settings) -> None:
        """Take over new settings. Requests that are under way end by the old ones."""
        self._services.renew(settings)
        self._front.renew()

    async def close(self, budget_s: float) -> None:
        """Take nothing new, answer what was taken, then close every connection.

        A caller who waits for verdicts is told shortly before the end that they are still open.

        Args:
            budget_s: seconds after which connections are dropped all the same.
        """
        self._server.close()
        self._front.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._front.empty.wait(), max(budget_s - _FAREWELL_S, 0.0))
        self._services.waiters.hurry()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._front.empty.wait(), min(budget_s, _FAREWELL_S))
        self._front.stop()
        await self._runner.cleanup()
        await self._desk.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(1.0)


def _hand_over(
    server: web.Server, gone: Callable[[Handed], None], used: Callable[[], int], **options: Any
) -> Handed:
    return Handed(server, gone=gone, used=used, **options)


async def open_doors(services: Services, sock: socket.socket) -> Doors:
    """Open the doors on a bound socket (many processes may share it). It is closed with the doors."""
    desk = Desk(services)
    runner = web.AppRunner(make_app(desk), handle_signals=False, shutdown_timeout=_CLEANUP_S)
    await runner.setup()
    aiohttp_server = runner.server
    if aiohttp_server is None:
        raise RuntimeError("aiohttp made no server")
    aiohttp_server.request_factory = with_single_slashes(aiohttp_server.request_factory)
    handler = partial(
        _hand_over,
        aiohttp_server,
        access_log=None,  # it would hold query strings, and those may hold tokens
        keepalive_timeout=services.times.idle_s,
        head_s=services.times.head_s,
        read_s=services.times.read_s,
        lingering_time=_LINGER_S,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADERS_MAX,
        auto_decompress=False,  # `bodies.BodyReader` does, as far as a body is read
    )
    front = Front(services, desk.intake, handler)
    sock.setblocking(False)
    server = await asyncio.get_running_loop().create_server(front, sock=sock, backlog=_BACKLOG)
    return Doors(desk, runner, front, server)
