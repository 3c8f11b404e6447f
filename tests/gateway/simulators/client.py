"""A bare HTTP/2 client on a real TLS socket, for what no library lets a test do."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import jwt

from gateway.simulators import ApnsSimulator, TeamKey
from protocols.headers import Header
from protocols.http2.client import ClientConnection, RequestOutcome

TOPIC = b"com.example.app"
PIN = "ab" * 32


def provider_token(key: TeamKey, issued_s: float | None = None) -> str:
    """A provider token of a key, issued now or when said."""
    claims = {"iss": key.team_id, "iat": int(time.time() if issued_s is None else issued_s)}
    return jwt.encode(claims, key.pem.decode(), "ES256", {"kid": key.key_id})


def push(token: str, pin: str = PIN, *extra: Header) -> list[Header]:
    """The headers of an alert."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", f"/3/device/{pin}".encode()),
        (b"authorization", f"bearer {token}".encode()),
        (b"apns-topic", TOPIC),
        (b"apns-push-type", b"alert"),
        *extra,
    ]


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.machine = ClientConnection(deadline_s=30)
        self.lost = asyncio.get_running_loop().create_future()
        self.hold_output = False
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._settle(self.machine.receive(data, time.monotonic()))
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle(self.machine.lost())
        if not self.lost.done():
            self.lost.set_result(None)

    def begin(self, headers: Sequence[Header], body: bytes) -> "asyncio.Future[RequestOutcome]":
        """Send a request; its outcome comes as the future's result."""
        future: asyncio.Future[RequestOutcome] = asyncio.get_running_loop().create_future()
        self.machine.submit(list(headers), body, future, time.monotonic())
        self.flush()
        return future

    async def send(
        self, headers: Sequence[Header], body: bytes = b'{"aps":{"alert":"hi"}}'
    ) -> RequestOutcome:
        """Send a request and wait for its outcome."""
        return await self.begin(headers, body)

    async def assert_capacity(self, streams: int) -> None:
        """Assert that the peer's limit soon lets so many streams be opened."""
        with suppress(TimeoutError):
            async with asyncio.timeout(30):
                while self.machine.capacity != streams:
                    self._changed.clear()
                    await self._changed.wait()
        assert self.machine.capacity == streams

    def _settle(self, outcomes: Sequence[RequestOutcome]) -> None:
        for outcome in outcomes:
            if not outcome.context.done():
                outcome.context.set_result(outcome)
        self._changed.set()

    def flush(self) -> None:
        """Send what the machine has to say, unless the test holds it back."""
        if not self.hold_output:
            self.transport.write(self.machine.take_output())


@asynccontextmanager
async def connected(simulator: ApnsSimulator, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A connection to a simulator."""
    loop = asyncio.get_running_loop()
    tls = context or simulator.authority.client_context()
    _, client = await loop.create_connection(
        Client, "127.0.0.1", simulator.port, ssl=tls, server_hostname="localhost", ssl_shutdown_timeout=1
    )
    try:
        yield client
    finally:
        client.transport.abort()
        await client.lost
