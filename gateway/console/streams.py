"""Server-sent events: their limit in this process, and their end.

A stream occupies a connection without a request to come. Its connection is therefore in the state of a request that
is answered (`gateway.http_api.aiohttp_handler`): neither the time limit of idle connections nor their eviction applies
to it.
A stream ends with the session, when its client does not read, and when the gateway shuts down.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from gateway.console.guard import Guard, Visit
from gateway.console.pages import PAGE_HEADERS
from gateway.errors import AuthenticationBusy, RhoPushError, StoreDown, StreamsFull
from gateway.http_api.aiohttp_handler import AiohttpConnection
from gateway.http_api.responses import json_bytes

STREAMS_MAX: Final = 64
"""Most streams of this process."""
_SEND_S: Final = 20.0
"""Time after which a client that does not read loses its stream."""
_SESSION_S: Final = 2.0
"""Interval at which a stream checks that its session has not ended."""
_RETRY_MS: Final = 2_000
"""Time after which a browser connects again."""
_EXPECTED: Final = (OSError, RhoPushError)
"""Errors that end a stream without a defect: its client does not read or has disconnected, or a store fails."""
_log = structlog.get_logger("console")

Event = tuple[str, Any]
"""Name and content of an event."""


class LiveStreams:
    """Serves streams.

    Args:
        guard: checks sessions.
        most: most streams at a time.
    """

    def __init__(self, guard: Guard, most: int = STREAMS_MAX) -> None:
        self._guard = guard
        self._most = most
        self.open = 0
        """Number of open streams."""

    async def serve(
        self, request: web.Request, visit: Visit, events: AsyncIterator[Event]
    ) -> web.StreamResponse:
        """Send events until there are no more, or the stream must end.

        Args:
            request: the request.
            visit: its caller.
            events: the events; an event is requested once the previous one is sent.

        Raises:
            StreamsFull: this process serves as many streams as it may.
        """
        if self.open >= self._most:
            raise StreamsFull("this gateway serves no further live pages")
        self.open += 1
        try:
            return await self._serve(request, visit, events)
        finally:
            self.open -= 1

    async def _serve(
        self, request: web.Request, visit: Visit, events: AsyncIterator[Event]
    ) -> web.StreamResponse:
        stream = EventSourceResponse(headers=PAGE_HEADERS, send_timeout=_SEND_S)
        stream.headers["Cache-Control"] = "no-store"
        await stream.prepare(request)
        protocol = request.protocol
        sending = asyncio.ensure_future(self._send(stream, visit, events))
        checking = asyncio.ensure_future(self._until_session_ends(stream, request, visit))
        if isinstance(protocol, AiohttpConnection):
            protocol.begin_stream(sending.cancel)
        try:
            await asyncio.wait((sending, checking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, checking):
                task.cancel()
            for error in await asyncio.gather(sending, checking, return_exceptions=True):
                if isinstance(error, Exception) and not isinstance(error, _EXPECTED):
                    _log.error("console_stream_failed", path=request.path, exc_info=error)
            stream.stop_streaming()
            if isinstance(protocol, AiohttpConnection):
                protocol.end_stream()
        stream.force_close()
        return stream

    async def _send(self, stream: EventSourceResponse, visit: Visit, events: AsyncIterator[Event]) -> None:
        await stream.send(json_bytes(visit.about).decode(), event="session", retry=_RETRY_MS)
        async for name, content in events:
            await stream.send(json_bytes(content).decode(), event=name)

    async def _until_session_ends(
        self, stream: EventSourceResponse, request: web.Request, visit: Visit
    ) -> None:
        while True:
            await asyncio.sleep(_SESSION_S)
            await stream.send("0", event="alive")  # scripts do not see the comments of the stream
            try:
                now = await self._guard.visit(request)
            except (StoreDown, AuthenticationBusy):  # not a reason to end: the page shows that Redis is down
                continue
            if now is None or now.principal != visit.principal:
                return
