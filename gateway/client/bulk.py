"""A streamed request with many pings, continued at the first unanswered line if the connection ends early.

This module loads aiohttp, so it is imported only at its first use.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from gateway.client.bulk_lines import BULK_PATH, MEDIA_TYPE, BulkItem, BulkLines, BulkResult
from gateway.client.errors import PingError
from gateway.client.messages import (
    TEMPORARY,
    ClientResponse,
    refusal,
    server_url,
    token_header,
    unreachable,
)

WINDOW: Final = 1_000
"""Most lines whose results the caller has not taken; beyond it no further line is read from the iterable."""
_TURN_LINES: Final = 64
"""Items of a plain iterable that are read without a turn of the event loop."""
_BLOCKING_S: Final = 0.01
"""A plain iterable that takes longer for an item may block for long at the next one. Nothing runs meanwhile, so each of
the following `_TURN_LINES` lines is sent before the next item is read, and so are the first lines."""
_SENT_S: Final = 0.5
"""Longest wait for the sending of such a line: the connection may have to be opened, or be lost."""
_PAUSE_S: Final = 0.2
"""Pause before the request that follows a lost connection."""
_BUSY_PAUSE_S: Final = 1.0


class BulkSession:
    """Sends the pings of an iterable.

    Args:
        server: the gateway's URL.
        token: the API token.
        items: the pings, in a plain or an asynchronous iterable.
        timeout_s: longest time without a result while lines wait for one.
        window: most lines whose results the caller has not taken.

    Raises:
        PingError: the URL or the token cannot be used.
        TypeError: the items are a single ping.
    """

    def __init__(
        self,
        server: str,
        token: str,
        items: Iterable[BulkItem] | AsyncIterable[BulkItem],
        timeout_s: float,
        window: int = WINDOW,
    ) -> None:
        if isinstance(items, Mapping | str | bytes | bytearray | memoryview):
            raise TypeError(f"the pings must be an iterable of pings, not one {type(items).__name__}")
        self._server = server_url(server)
        self._url = server.rstrip("/") + BULK_PATH
        self._headers = {"Content-Type": MEDIA_TYPE, **token_header(token)}
        self._timeout_s = timeout_s
        self._window = window
        self._lines = BulkLines()
        self._changed = asyncio.Condition()
        self._exhausted = False
        self._since_s = time.monotonic()
        self._reading = asyncio.create_task(self._read(items))
        self._sending = asyncio.create_task(self._send())

    async def take(self) -> list[BulkResult]:
        """Return the next results, at least one; an empty list: every line has its result.

        Raises:
            PingError: the gateway refuses the request, or returned no result in time.
        """
        async with self._changed:
            while not (results := self._lines.take()):
                if self._sending.done():
                    self._sending.result()
                    await self._reading
                    return []
                await self._changed.wait()
            self._changed.notify_all()
            return results

    async def close(self) -> None:
        """Stop sending."""
        for task in (self._reading, self._sending):
            task.cancel()
        await asyncio.gather(self._reading, self._sending, return_exceptions=True)

    # -- the caller's iterable -------------------------------------------------------------------------------

    async def _read(self, items: Iterable[BulkItem] | AsyncIterable[BulkItem]) -> None:
        try:
            async for item in _asynchronous(items, self._sent):
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self._lines) < self._window)
                    if not self._lines.waiting:
                        self._since_s = time.monotonic()
                    self._lines.add(item)
                    self._changed.notify_all()
        finally:
            self._exhausted = True
            async with self._changed:
                self._changed.notify_all()

    async def _sent(self) -> None:
        """Wait until every line that was read is sent, at most `_SENT_S`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SENT_S), self._changed:
                await self._changed.wait_for(lambda: not self._lines.unsent or self._sending.done())

    # -- requests --------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        try:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=self._timeout_s, sock_read=self._timeout_s
            )
            async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
                while await self._has_lines():
                    await self._try(session)
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _has_lines(self) -> bool:
        """Wait for lines without a result; False: the iterable has ended, and every line has its result."""
        async with self._changed:
            self._lines.begin()
            if not self._lines.unsent:
                await self._changed.wait_for(lambda: self._lines.unsent or self._exhausted)
                self._since_s = time.monotonic()
            return self._lines.unsent

    async def _try(self, session: aiohttp.ClientSession) -> None:
        """Make one request, and wait until the next one may begin.

        Raises:
            PingError: the gateway refuses the request, or returned no result for too long.
        """
        request = _Request()
        try:
            await self._in_time(self._exchange(session, request), request)
        except (aiohttp.ClientError, OSError, TimeoutError, LookupError, ValueError) as error:
            if not await self._pause(_PAUSE_S):
                raise unreachable(self._server, error) from error
            return
        finally:
            await self._stop(request, 0.0)
        if request.pause_s and not await self._pause(request.pause_s):
            why = f": {request.reason}" if request.reason else ""
            raise PingError([f"the gateway accepted no line for {self._timeout_s:g} s{why}"])

    async def _pause(self, seconds: float) -> bool:
        """Wait; False: a line has waited too long for its result by then, so that no further request is made."""
        left_s = self._left_s
        await asyncio.sleep(min(seconds, left_s))
        return seconds < left_s

    async def _in_time(self, exchange: Coroutine[Any, Any, None], request: "_Request") -> None:
        """Run an exchange until it ends. aiohttp limits the time of a response only once the whole body is sent.

        Raises:
            TimeoutError: a line has waited too long for its result.
        """
        task = asyncio.create_task(exchange)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=min(self._left_s, self._timeout_s))
                if self._left_s < 0 and not task.done():
                    raise TimeoutError
        finally:
            await self._stop(request, 0.0)
            task.cancel()
            await asyncio.wait({task})
        task.result()

    @property
    def _left_s(self) -> float:
        """Seconds after which a line has waited too long for its result; infinite while no line waits, since the
        iterable may pause."""
        return self._since_s + self._timeout_s - time.monotonic() if self._lines.waiting else math.inf

    async def _exchange(self, session: aiohttp.ClientSession, request: "_Request") -> None:
        async with session.post(
            self._url,
            headers=self._headers,
            data=_Body(self._body(request)),
            allow_redirects=False,  # another server must not receive the token
        ) as response:
            if response.status != 200:
                await self._refused(request, response)
                return
            async for line in response.content:
                await self._answered(request, line)
            if self._lines.unanswered:
                await self._stop(request, _PAUSE_S)
                response.close()

    async def _refused(self, request: "_Request", response: aiohttp.ClientResponse) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        found = ClientResponse(response.status, headers, await response.read())
        if response.status not in TEMPORARY:
            raise refusal(found)
        request.reason = refusal(found).message
        after = headers.get("retry-after", "")
        await self._stop(request, float(after) if after.isdecimal() else _BUSY_PAUSE_S)

    async def _answered(self, request: "_Request", line: bytes) -> None:
        answer = _parsed(line)
        if "resume_from" in answer:  # the gateway read no line after the answered ones
            await self._stop(request, float(answer["error"].get("retry_after_s") or _PAUSE_S))
            return
        async with self._changed:
            after_s = self._lines.answer(answer)
            if after_s is None:
                self._since_s = time.monotonic()
            self._changed.notify_all()
        if after_s is not None:
            await self._stop(request, after_s)

    async def _stop(self, request: "_Request", pause_s: float) -> None:
        """End the body of a request."""
        async with self._changed:
            request.over = True
            request.pause_s = max(request.pause_s, pause_s)
            self._changed.notify_all()

    async def _body(self, request: "_Request") -> AsyncIterator[bytes]:
        """Yield the lines as the iterable returns them; the end of this iterator ends the request."""
        while True:
            async with self._changed:
                self._changed.notify_all()  # the lines of the turn before are sent
                await self._changed.wait_for(lambda: self._lines.unsent or self._exhausted or request.over)
                if request.over or not self._lines.unsent:
                    return
                data = self._lines.send()
            yield data


class _Body(aiohttp.AsyncIterablePayload):
    """The body of a request, which ends within `write_with_length`.

    aiohttp writes the end of a body after this method. If the connection was lost in the same turn of the event loop,
    that write fails, and aiohttp closes the connection such that a coroutine that reads the response waits without
    end. An `OSError` of this method, in contrast, ends the response with an error.
    """

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body and its end; aiohttp's own call of `write_eof` then has no effect."""
        await super().write_with_length(writer, content_length)
        await writer.write_eof()


def blocking(
    server: str, token: str, items: Iterable[BulkItem], timeout_s: float
) -> Iterator[list[BulkResult]]:
    """Yield the results of a `BulkSession`, some at a time, for callers without an event loop.

    Raises:
        RuntimeError: the caller runs in an event loop.
    """
    if _in_event_loop():
        raise RuntimeError("PingJob.bulk was called in a running event loop: use PingJob.abulk there")
    with asyncio.Runner() as runner:
        # `Runner.run` would postpone a KeyboardInterrupt until an iterable that blocks returns its next item
        run = runner.get_loop().run_until_complete

        async def begin() -> BulkSession:
            return BulkSession(server, token, items, timeout_s)

        session = run(begin())
        try:
            while results := run(session.take()):
                yield results
        finally:
            run(session.close())


def _in_event_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def _parsed(line: bytes) -> dict[str, Any]:
    """Return one line of a response.

    Raises:
        ValueError: the response was cut off in the line.
        PingError: no gateway sends this line.
    """
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        if line.startswith(b"{") and not line.endswith(b"\n"):
            raise
        answer = None
    known = isinstance(answer, dict) and (isinstance(answer.get("error"), dict) or "ping_id" in answer)
    if not known:
        raise refusal(ClientResponse(200, {}, line))
    found: dict[str, Any] = answer
    return found


class _Request:
    """One request.

    Attributes:
        over: whether its body must end.
        pause_s: seconds to wait before the next request.
        reason: the text of a response that refuses the whole request for now; "": there was none.
    """

    __slots__ = ("over", "pause_s", "reason")

    def __init__(self) -> None:
        self.over = False
        self.pause_s = 0.0
        self.reason = ""


async def _asynchronous(
    items: Iterable[BulkItem] | AsyncIterable[BulkItem], sent: Callable[[], Awaitable[None]]
) -> AsyncIterator[BulkItem]:
    """Yield the items. A plain iterable is read with pauses in which the event loop runs other work.

    Args:
        items: the items.
        sent: waits until the items before are sent.
    """
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    begun_s, slow = time.monotonic(), _TURN_LINES
    for count, item in enumerate(items, 1):
        slow = _TURN_LINES if time.monotonic() - begun_s > _BLOCKING_S else slow - 1
        yield item
        if slow > 0:
            await sent()
        elif not count % _TURN_LINES:
            await asyncio.sleep(0)
        begun_s = time.monotonic()
