"""A connection in aiohttp's hands, with the one thing that aiohttp does not do: answer a half-closed client.

aiohttp's handler lets the transport close at the client's end of stream, with requests still unanswered. Here
the connection stays open until what the client sent whole is answered.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, cast

_GRACE_S: Final = 0.1
"""After the end of the stream: what was sent whole is with the handler, and begun long before."""


class AiohttpHandler(Protocol):
    """What is needed of `aiohttp.web.RequestHandler`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """As `asyncio.Protocol`."""

    def pause_writing(self) -> None:
        """As `asyncio.Protocol`."""

    def resume_writing(self) -> None:
        """As `asyncio.Protocol`."""


class Handed(asyncio.Protocol):
    """Passes a transport's calls on to aiohttp's handler.

    Args:
        handler: aiohttp's protocol.
        gone: called once, when the connection is lost.
    """

    def __init__(self, handler: AiohttpHandler, gone: Callable[["Handed"], None]) -> None:
        self._handler = handler
        self._gone = gone
        self._busy = 0
        self._reading = 0
        self._eof = False  # the client sends no more
        self._ended = False  # no request will be begun any more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast("asyncio.Transport", transport)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        self._handler.data_received(data)

    def pause_writing(self) -> None:
        """Pass on."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the handler, which cancels what it does for this client."""
        self._ended = False
        self._handler.connection_lost(exc)
        self._gone(self)

    def eof_received(self) -> bool:
        """Keep the transport for answers that are still owed."""
        self._eof = True
        self.drain()
        return True

    def drain(self) -> None:
        """Close the connection as soon as nothing is owed."""
        self._ended = True
        asyncio.get_running_loop().call_later(_GRACE_S, self._close_if_idle)

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Around the work for one request."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            if self._ended and not self._busy:
                asyncio.get_running_loop().call_later(_GRACE_S, self._close_if_idle)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Around waiting for a body: after the end of the stream the rest of it cannot come."""
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    def _close_if_idle(self) -> None:
        if self._ended and (not self._busy or (self._eof and self._reading)):
            self._transport.close()


def handed(transport: Any) -> Handed | None:
    """The `Handed` that a request's transport belongs to, if it came through the front."""
    protocol = None if transport is None else transport.get_protocol()
    return protocol if isinstance(protocol, Handed) else None
