"""The interruption of a streamed request that makes no progress, or whose process shuts down.

Progress is a byte received from the client, or a byte of the response that the client has received. After
`HttpTimeouts.stream_s` without progress, the request is interrupted if the client has read the whole response so far;
else its connection is dropped.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from gateway.errors import RequestTimeout, RhoPushError, ShuttingDown
from gateway.http_api.aiohttp_handler import AiohttpConnection

_LOOKS: Final = 8
"""Number of checks of the response within the time without progress."""


class StreamWatch:
    """Watches one request; a context manager around its handling.

    Args:
        connection: the request's connection.
        stream_s: longest time without progress, in seconds.

    Attributes:
        reason: the reason of the interruption; None: the request was not interrupted.
    """

    def __init__(self, connection: AiohttpConnection, stream_s: float) -> None:
        self._connection = connection
        self._stream_s = stream_s
        self._loop = asyncio.get_running_loop()
        self._moved_s = self._loop.time()
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._limit: asyncio.Timeout | None = None
        self.reason: RhoPushError | None = None

    def __enter__(self) -> Self:
        self._connection.begin_stream(self._drain)
        self._look_later()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connection.end_stream()

    def moved(self) -> None:
        """Note progress: a byte arrived from the client."""
        self._moved_s = self._loop.time()

    @asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """Return a context that raises TimeoutError once the request is interrupted: see `reason`."""
        async with asyncio.timeout(None if self.reason is None else 0) as limit:
            self._limit = limit
            try:
                yield
            finally:
                self._limit = None

    def _drain(self) -> None:
        self._interrupt(ShuttingDown("the gateway is shutting down"))

    def _interrupt(self, reason: RhoPushError) -> None:
        if self.reason is not None:
            return
        self.reason = reason
        if self._limit is not None:
            self._limit.reschedule(self._loop.time())

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(self._stream_s / _LOOKS, self._look)

    def _look(self) -> None:
        unsent = self._connection.unsent_bytes
        if unsent != self._unsent:
            self._unsent = unsent
            self.moved()
        if self._loop.time() - self._moved_s >= self._stream_s:
            if unsent or self.reason is not None:  # the client does not read: it would not receive a response
                self._connection.abort()
                return
            self._interrupt(RequestTimeout("neither the request nor its response made progress"))
            self.moved()
        self._look_later()
