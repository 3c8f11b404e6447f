"""A receiver of webhooks on a real socket. It verifies every message with the library of the specification."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
_PATIENCE_S = 60.0


class Received(NamedTuple):
    """One verified message."""

    id: str
    kind: str
    data: list[dict[str, Any]]
    body: bytes
    status: int


class Receiver:
    """A receiver.

    Attributes:
        status: the status with which it answers.
        headers: further headers of the answer.
        delay_s: how long it waits before the answer.
        messages: every message, also those that it did not answer with 2xx.
        secret: the secret that verifies.
    """

    def __init__(self, secret: str = SECRET) -> None:
        self.status: int | Callable[[], int] = 204
        self.headers: dict[str, str] = {}
        self.answer = b""
        self.delay_s = 0.0
        self.messages: list[Received] = []
        self.secret = secret
        self.url = ""
        self._changed = asyncio.Event()

    async def on_request(self, request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(self.secret).verify(body, {name.lower(): text for name, text in request.headers.items()})
        assert request.headers["Content-Type"] == "application/json"
        await asyncio.sleep(self.delay_s)
        status = self.status() if callable(self.status) else self.status
        value = json.loads(body)
        self.messages.append(
            Received(request.headers["webhook-id"], value["type"], value["data"], body, status)
        )
        self._changed.set()
        return web.Response(status=status, headers=self.headers, body=self.answer or None)

    @property
    def accepted(self) -> list[Received]:
        """The messages that were answered with 2xx."""
        return [message for message in self.messages if message.status < 300]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The accepted events of one type, each message once."""
        once = {message.id: message for message in self.accepted if message.kind == kind}
        return [event for message in once.values() for event in message.data]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition is true, which is checked after each message."""
        async with asyncio.timeout(_PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def settings(self, *events: str, **options: Any) -> dict[str, Any]:
        """The settings of an endpoint with this receiver."""
        return {"url": self.url, "secret": self.secret, "events": list(events), **options}


@asynccontextmanager
async def receiving(secret: str = SECRET, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver, with TLS if a context is given."""
    receiver = Receiver(secret)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/events", receiver.on_request)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    host = "localhost" if tls is not None else "127.0.0.1"
    receiver.url = f"{'https' if tls is not None else 'http'}://{host}:{runner.addresses[0][1]}/events"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def assert_repeats_are_equal(messages: Sequence[Received]) -> None:
    """Assert that messages with one id have one body."""
    bodies: dict[str, bytes] = {}
    for message in messages:
        assert bodies.setdefault(message.id, message.body) == message.body, message.id
