"""The connection handler of aiohttp, with additional behaviour.

The module uses the public names of aiohttp alone: a `RequestTracker` reads the bytes that aiohttp receives, the request
factory reports the start of each request, and `finish_response` reports each response. To refuse a request for which
aiohttp would wait, the module feeds its parser bytes that the parser refuses.

- A half-closed client is answered. aiohttp lets the transport close at the client's end of stream, with requests still
  unanswered; here the transport stays open until every complete request is answered.
- A head must be complete within a time limit of its own. aiohttp grants it the time of an idle connection.
- Input that is not HTTP is refused with the gateway's own text, without an echo: aiohttp's response and log record
quote
  the bytes around the fault, which may be a token.
- A malformed or truncated request is answered, and its connection lingers so that the client can read the response: an
  immediate close, with unread bytes, would reset the connection and discard the response.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from aiohttp import StreamReader, web
from multidict import CIMultiDict

from gateway.http_api import responses
from gateway.http_api.aiohttp_parser import BROKEN, RequestTracker, refusal_of
from gateway.http_api.dependencies import HttpTimeouts
from protocols.http1.response import REASONS, HttpResponse
from protocols.http1.states import ServerState, ServerStep, advance

LINGER_IDLE_S: Final = 2.0
"""Idle time that ends the lingering: a client that waits for a response before it sends more has it by then."""
AiohttpConnectionMaker = Callable[
    [Callable[["AiohttpConnection"], None], Callable[[], int]], "AiohttpConnection"
]
"""Creates aiohttp's protocol for a connection that is handed over; the callback reports that the connection is
closed."""
RequestMaker = Callable[..., web.BaseRequest]
"""Creates aiohttp's request from a parsed head, its body and its connection."""
_ENDING: Final = (ServerState.LAST, ServerState.CLOSING)
_log = structlog.get_logger("http_api")


class AiohttpConnection(web.RequestHandler):
    """The protocol of one connection that aiohttp serves.

    Args:
        server: aiohttp's server, which counts its connections.
        on_closed: called once, when the connection is lost.
        used: updates the connection's rank in the order of use.
        head_s: time limit of a head, from its first byte.
        read_s: time limit for a client to read its responses.
        options: options of `web.RequestHandler`.

    Attributes:
        state: state of the connection (`protocols.http1.states`).
        trusted: whether the connection carried a valid API token or session.
        draining: whether the current response is the last: no further request is begun.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        on_closed: Callable[["AiohttpConnection"], None],
        used: Callable[[], int],
        head_s: float,
        read_s: float,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.state = ServerState.WAITING
        self._tracker = RequestTracker()
        self._begun = self._answered = 0  # numbers of requests
        self._content: StreamReader | None = None  # the body of the last request that was begun
        self._handled: StreamReader | None = None  # the same body, until its response begins
        self._refused_head = False
        self._on_closed = on_closed
        self._next_use = used
        self._order = used()
        self._wire: asyncio.Transport | None = None
        self._closing_since = 0  # the tick at which `check_timeouts` found it closed by this side
        self._linger_left = -1  # bytes of a refused body that may still be read; below 0: no body was refused
        self._linger: asyncio.TimerHandle | None = None
        self._head_s = head_s
        self._read_s = read_s
        self._read_timer: asyncio.TimerHandle | None = None  # runs while the client does not read
        self._head: asyncio.TimerHandle | None = None  # runs while a head is incomplete
        self._half_closed = asyncio.Event()  # set when the client closed its side or the connection is lost
        self.trusted = False
        self.draining = False
        self._on_drain: Callable[[], object] | None = None  # callback of the streamed request in progress

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: aiohttp drops its reference on close, possibly with unread responses."""
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def check_timeouts(self, ticks: int, timeouts: HttpTimeouts) -> None:
        """Drop a connection that this side has closed and whose client does not read the last responses."""
        if self._wire is None or not self._wire.is_closing():
            return
        self._step(ServerStep.CLOSE)
        self._closing_since = self._closing_since or ticks
        if (ticks - self._closing_since) * timeouts.tick_s > timeouts.read_s:
            self._wire.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the handlers of this client, as aiohttp does."""
        for timer in (self._read_timer, self._head, self._linger):
            if timer is not None:
                timer.cancel()
        self._half_closed.set()
        self._step(ServerStep.LOST)
        super().connection_lost(exc)
        self._on_closed(self)

    def data_received(self, data: bytes) -> None:
        """Pass the data to aiohttp, and start the time limit of an incomplete head."""
        if not data:  # aiohttp continues with bytes that it has
            super().data_received(data)
            return
        self._order = self._next_use()
        if self._linger is not None:
            self._count_lingering(len(data))
        if self._tracker.cause is None:
            self._tracker.feed(data)
            super().data_received(data)
            self._end_broken_input()
        if not self._is_idle:
            self._end_head()
        elif self._head is None and data.strip(b"\r\n"):  # empty lines do not begin a head (RFC 9112 §2.2)
            self._head = asyncio.get_running_loop().call_later(self._head_s, self._late_head)
        self._note_input()

    def request_begun(self, content: StreamReader) -> None:
        """Note the start of a request. `content`: its body."""
        self._begun += 1
        self._content = self._handled = content
        self._end_broken_input()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write a response, as aiohttp does, and close the connection after the last response."""
        self._handled = None
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
            if self._answered >= self._tracker.heads and self.state is not ServerState.WAITING:
                self._step(ServerStep.ANSWERED)
            self._close_if_done()

    def _note_input(self) -> None:
        """Change the state according to the bytes received."""
        if self.state > ServerState.ANSWERING:
            return
        if self._tracker.in_body:
            self._step(ServerStep.BODY)
        elif not self._is_idle:
            self._step(ServerStep.REQUEST)
        elif self.state is ServerState.BODY:  # of a request that is answered already
            self._step(ServerStep.REQUEST)
            self._step(ServerStep.ANSWERED)
        elif self._head is not None:
            self._step(ServerStep.HEAD)

    def _step(self, step: ServerStep) -> None:
        """Change the state. A handler may continue after its connection was lost: then the state stays."""
        if self.state is not ServerState.CLOSED:
            self.state = advance(self.state, step)

    def _end_broken_input(self) -> None:
        """End a request that stays incomplete, once aiohttp has begun every request before it."""
        tracker, content = self._tracker, self._content
        if tracker.cause is None or self._begun < tracker.heads:
            return
        if tracker.in_body:
            if content is not None and not content.is_eof() and content.exception() is None:
                content.set_exception(web.RequestPayloadError("the body is truncated or malformed"))
        elif tracker.hidden and not self._refused_head:
            self._refused_head = True
            super().data_received(BROKEN)

    def pause_writing(self) -> None:
        """Start the time limit for a client that does not read its responses."""
        super().pause_writing()
        if self._on_drain is None:
            self._await_reading()

    def _await_reading(self) -> None:
        self._read_timer = asyncio.get_running_loop().call_later(self._read_s, self.abort)

    def begin_stream(self, on_drain: Callable[[], object]) -> None:
        """Begin to answer a request while its body arrives: its handler, not this protocol, limits the time of both.

        Args:
            on_drain: called once the connection must end; possibly at once.
        """
        self._on_drain = on_drain
        if self.draining:
            on_drain()

    def end_stream(self) -> None:
        """Leave the stream mode: only the end of that response remains to be written."""
        self._on_drain = None
        if self._paused and self._read_timer is None:
            self._await_reading()

    @property
    def unsent_bytes(self) -> int:
        """Number of response bytes that the client has not received yet."""
        return 0 if self._wire is None else self._wire.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Stop the time limit: the client reads again."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def eof_received(self) -> Any:
        """Return True to keep the transport for outstanding responses. (aiohttp's own method returns None.)

        No more data arrives: an incomplete body or head is refused.
        """
        self._half_closed.set()
        self._tracker.end()
        self._step(ServerStep.END)
        self._end_broken_input()
        self._close_if_done()
        return True

    def drain(self) -> None:
        """Close the connection with the current response, or now if no response is outstanding."""
        self.draining = True
        if self._on_drain is not None:
            self._on_drain()
        self._step(ServerStep.DRAIN)
        self._close_if_done()

    def abort(self) -> None:
        """Abort the connection."""
        if self._wire is not None:
            self._wire.abort()

    @property
    def idle_since(self) -> int | None:
        """Rank in the order of use while the connection is idle, else None."""
        return self._order if self.state is ServerState.WAITING else None

    @property
    def awaits_client(self) -> bool:
        """Whether the next step is the client's: to send a request or the rest of one, or to read its responses."""
        body = self._handled
        unread = self._read_timer is not None or (self._wire is not None and self._wire.is_closing())
        return self._is_idle or unread or not (body is None or body.is_eof())

    def linger(self, most: int) -> None:
        """Read and discard the rest of a refused body, so that its sender sees the response before a reset.

        aiohttp does this after the response, for `lingering_time` at most. Here it also ends after `most` bytes, and
        after `LINGER_IDLE_S` without data.
        """
        if self.state <= ServerState.LAST:
            self._step(ServerStep.REFUSE)
        self._linger_left = most
        self._wait_lingering()

    def _count_lingering(self, count: int) -> None:
        self._linger_left -= count
        if self._linger_left < 0:
            self._end_lingering()
        elif count:
            self._wait_lingering()

    def _wait_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._linger = asyncio.get_running_loop().call_later(LINGER_IDLE_S, self._end_lingering)

    def _end_lingering(self) -> None:
        self._close_transport()

    def _close_transport(self) -> None:
        if self.transport is not None:
            self._step(ServerStep.CLOSE)
            self.transport.close()

    async def wait_for_close(self) -> None:
        """Wait after the last response until the client has closed, at most `LINGER_IDLE_S`, and discard further
        data."""
        transport = self.transport
        if transport is None or self._half_closed.is_set():
            return
        if transport.can_write_eof():  # TLS cannot half-close
            transport.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_IDLE_S):
                await self._half_closed.wait()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer invalid HTTP (400) or an internal failure (500), and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        if status == 400:
            cause = self._tracker.cause if self._tracker.hidden else exc
            found: web.Response = FinalResponse(responses.of_error(refusal_of(cause)), self)
        else:
            _log.error("request_failed", method=request.method, path=request.path, exc_info=exc)
            found = responses.response(responses.of_failure())
        found.headers["Server"] = "rhopush"  # without a version; `app` omits the header where it can
        found.force_close()
        return found

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an exception at which aiohttp ends a connection, except for broken bodies, which are answered already."""
        about, error = " ".join(map(str, args)), kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            _log.debug("connection_failed", about=about, error=str(error))
        else:
            _log.error("connection_failed", about=about, exc_info=error)

    @property
    def _is_idle(self) -> bool:
        """Return whether every request with a complete head is read and answered."""
        tracker = self._tracker
        return self._answered >= tracker.heads and not tracker.in_body and tracker.cause is None

    def _end_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late_head(self) -> None:
        self._head = None
        if self._is_idle:
            self._step(ServerStep.CLOSE)
            self.force_close()

    def _close_if_done(self) -> None:
        if self.state in _ENDING and self._is_idle:
            self._close_transport()


def report_begun(make: RequestMaker) -> RequestMaker:
    """Wrap `make` so that each request is reported to its connection: aiohttp creates one when it begins to handle
    it."""

    def request(message: Any, content: StreamReader, protocol: Any, *args: Any) -> web.BaseRequest:
        if isinstance(protocol, AiohttpConnection):
            protocol.request_begun(content)
        return make(message, content, protocol, *args)

    return request


def trust(request: web.Request) -> None:
    """Mark the connection of a request with a valid API token or session as trusted (`gateway.limits.eviction`)."""
    protocol = request.protocol
    if isinstance(protocol, AiohttpConnection):
        protocol.trusted = True


class FinalResponse(web.Response):
    """A response after which nothing more is read from its connection.

    Args:
        answer: the content of the response.
        protocol: the connection.
    """

    def __init__(self, answer: HttpResponse, protocol: AiohttpConnection) -> None:
        super().__init__(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body)
        self.set_status(answer.status, REASONS[answer.status])
        self.headers["Connection"] = "close"
        self._protocol = protocol
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the body, and wait until the client has read it."""
        await super().write_eof(data)
        await self._protocol.wait_for_close()
