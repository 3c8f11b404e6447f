"""A scripted HTTP/2 server on real TLS sockets, and a feed that records the outcomes of its requests."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, cast

import trustme

from gateway.transport.feed import BATCH, Endpoint, OutgoingRequest
from gateway.transport.tls import client_context
from protocols.http2.client import OutcomeKind, RequestOutcome
from protocols.http2.server import ServerConnection, StreamRequest
from tests.support.http2 import OK, request

Script = Callable[["Peer", StreamRequest], None]


class Watch:
    """Lets a test wait for a condition without sleeping."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def changed(self) -> None:
        """Evaluate the awaited conditions again."""
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition; the test's own time limit ends it."""
        if condition():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, future))
        await future


def answer(peer: "Peer", one: StreamRequest) -> None:
    """The script of a provider that accepts everything."""
    peer.machine.respond(one.stream_id, OK)


def hold(peer: "Peer", one: StreamRequest) -> None:
    """A script that never answers."""


class Peer(asyncio.Protocol):
    """One connection at the server."""

    def __init__(self, provider: "Provider") -> None:
        self.provider = provider
        self.machine = ServerConnection(streams_limit=provider.limit, window=provider.window)
        self.requests: list[StreamRequest] = []
        self.open_most = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.provider.peers.append(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for one in self.machine.receive(data):
            self.requests.append(one)
            self.open_most = max(self.open_most, self.machine.open_streams)
            self.provider.requests.append(one)
            self.provider.script(self, one)
        self.flush()
        self.provider.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.provider.changed()

    def flush(self) -> None:
        """Write the machine's output."""
        output = self.machine.take_output()
        if output and not self.transport.is_closing():
            self.transport.write(output)

    def cut(self) -> None:
        """Abort the connection."""
        self.transport.abort()


class Provider(Watch):
    """A listening server. Its script is called for each complete request."""

    def __init__(
        self,
        script: Script = answer,
        *,
        limit: int | None = 100,
        window: int = 65_535,
        alpn: Sequence[str] = ("h2",),
        client_ca: trustme.CA | None = None,
    ) -> None:
        super().__init__()
        self.script = script
        self.limit = limit
        self.window = window
        self.ca = trustme.CA()
        self.peers: list[Peer] = []
        self.requests: list[StreamRequest] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1", "localhost").configure_cert(self.context)
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        if client_ca is not None:
            client_ca.configure_trust(self.context)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Start accepting connections; before, they are refused."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Peer(self), sock=self.sock, ssl=self.context, ssl_shutdown_timeout=0.1
        )

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
        for peer in self.peers:
            peer.cut()
        await self.until(lambda: all(peer.lost for peer in self.peers))
        self.sock.close()

    def endpoint(self, trust: trustme.CA | None = None, **options: Any) -> Endpoint:
        """The address of the server, with a context that trusts it (or another authority)."""
        with (trust or self.ca).cert_pem.tempfile() as ca_file:
            context = client_context(ca_file=ca_file, **options)
        return Endpoint("127.0.0.1", self.port, context, "push.test")

    @property
    def alive(self) -> list[Peer]:
        """The open connections."""
        return [peer for peer in self.peers if not peer.lost]


class ListFeed(Watch):
    """Requests from a list. Untried requests return to the front, as in a lane."""

    def __init__(self, count: int = 0, body: bytes = b"{}") -> None:
        super().__init__()
        self.queue: deque[OutgoingRequest] = deque()
        self.outcomes: list[RequestOutcome] = []
        self.untried: list[RequestOutcome] = []
        self.takes: list[int] = []
        self.links: list[tuple[int, str | None]] = []
        self.count = 0
        self.body = body
        self.sends: dict[int, OutgoingRequest] = {}
        self.on_untried: Callable[[], None] = lambda: None
        self.add(count)

    def add(self, count: int = 1) -> None:
        """Add requests; their contexts count up from 0 and are part of their path."""
        for _ in range(count):
            send = (request(token=f"{self.count:064x}"), self.body, self.count)
            self.sends[self.count] = send
            self.queue.append(send)
            self.count += 1

    def waiting(self) -> int:
        return len(self.queue)

    def max_batch(self) -> int:
        return BATCH

    def take(self, n: int) -> Sequence[OutgoingRequest]:
        taken = [self.queue.popleft() for _ in range(min(n, len(self.queue)))]
        self.takes.append(len(taken))
        return taken

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        for outcome in outcomes:
            if outcome.kind is OutcomeKind.UNTRIED:
                self.untried.append(outcome)
                self.queue.appendleft(self.sends[outcome.context])
            else:
                self.outcomes.append(outcome)
        self.changed()

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        self.links.append((connected, error))
        self.changed()

    async def all_settled(self) -> None:
        """Wait until every request has its outcome."""
        await self.until(lambda: len(self.outcomes) >= self.count)

    @property
    def statuses(self) -> list[int]:
        """Statuses in order of the contexts; asserts that each context had one outcome."""
        contexts = [one.context for one in self.outcomes]
        assert len(set(contexts)) == len(contexts)
        return [one.status for one in sorted(self.outcomes)]

    @property
    def errors(self) -> list[str]:
        """The reported errors, in order."""
        return [error for _, error in self.links if error is not None]


def contexts_of(requests: Sequence[StreamRequest]) -> list[int]:
    """The contexts that a feed wrote into the paths."""
    return [int(dict(one.headers)[b":path"].removeprefix(b"/3/device/"), 16) for one in requests]


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that accepts connections and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]
