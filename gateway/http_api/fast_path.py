"""The listening protocol: it answers plain pings itself and hands every other request to aiohttp.

The fast path parses, admits, queues and answers a ping without a task, a future or a timer; only a ping whose caller
waits for the verdicts has a task. A request that `protocols.http1.request_head` does not accept goes to aiohttp's
handler, with its bytes and its transport, once the responses before it are written; the connection then stays with
aiohttp. Responses leave in the order of their requests (RFC 9112 §9.3.2), and all responses that are ready together
leave in one write.

One coarse clock, `PingServer.tick`, checks the time limits of all connections: idle, slow head, slow body.
"""

import asyncio
from collections.abc import Coroutine
from email.utils import formatdate
from typing import Any

import structlog

from gateway.http_api import responses
from gateway.http_api.admission import PingAdmission
from gateway.http_api.aiohttp_handler import AiohttpConnectionMaker
from gateway.http_api.bodies import BodyAdmission
from gateway.http_api.client_address import ClientAddresses
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.idle_eviction import HttpConnection, HttpConnections
from gateway.http_api.ping_connection import PingConnection
from protocols.http1.request_head import RequestHeadParser

_log = structlog.get_logger("http_api")


class PingServer:
    """All connections of one listening socket.

    Args:
        services: the services behind the HTTP API.
        admission: admission of pings.
        handler: creates aiohttp's protocol for a connection that is handed over.
    """

    def __init__(
        self, services: Dependencies, admission: PingAdmission, handler: AiohttpConnectionMaker
    ) -> None:
        self.services = services
        self.admission = admission
        self.queue = services.queue
        self.tracer = services.tracer
        self.addition_rules = services.addition_rules
        self.client_addresses = ClientAddresses(services.settings.http.trusted_proxies)
        self.handler = handler
        self.loop = asyncio.get_running_loop()
        self.connections = HttpConnections(services.connections)
        self._body_admission = BodyAdmission(services, admission.tokens)
        self.empty = asyncio.Event()  # set once every connection is closed, after `drain`
        self.fast = services.fast_path
        self.draining = False
        self.ticks = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.apply_settings()
        self._timer: asyncio.TimerHandle | None = None
        self.tick()

    def __call__(self) -> PingConnection:
        """Create the protocol of a new connection."""
        return PingConnection(self)

    def apply_settings(self) -> None:
        """Apply new settings."""
        self.admission.apply_settings()
        self.heads = RequestHeadParser(self._body_admission.large)
        self.small_body = self._body_admission.small

    def tick(self) -> None:
        """Update the Date header and the count of pings, and check all time limits, once per `HttpTimeouts.tick_s`."""
        self.ticks += 1
        self.date = formatdate(self.services.now(), usegmt=True)
        self.accepted_head = responses.accepted_head(self.date)
        if refused := self.services.connections.take_refused():
            _log.warning("http_connections_refused", count=refused)
        for connection in tuple(self.connections):
            connection.check_timeouts(self.ticks, self.services.timeouts)
        self._timer = self.loop.call_later(self.services.timeouts.tick_s, self.tick)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that must wait (the look-up of a token that is not cached) beside the protocol."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drain(self) -> None:
        """Close idle connections, and the others after their responses. Then set `empty`."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
        self._check_empty()

    def remove(self, connection: HttpConnection) -> None:
        """Remove a closed connection."""
        self.connections.remove(connection)
        self._check_empty()

    def _check_empty(self) -> None:
        if self.draining and not self.connections:
            self.empty.set()

    def stop(self) -> None:
        """Abort all remaining connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        for connection in tuple(self.connections):
            connection.abort()
