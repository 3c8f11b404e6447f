"""A connection in aiohttp's hands, with what its own handler does not do.

aiohttp is used by its public names alone: a `RequestTracker` reads the bytes that aiohttp is given, the request factory
reports each request that aiohttp begins, and `finish_response` each one that it has answered. Where a request must be
refused that aiohttp would wait for, its parser is given bytes that it refuses.

- A half-closed client is answered: aiohttp lets the transport close at the client's end of stream, with
  requests still unanswered. Here it stays open until what the client sent whole is answered.
- A head must be whole in time: aiohttp gives it as long as an idle connection.
- What is no HTTP is refused in our words, without an echo: aiohttp's answer and its log quote the bytes around the
  fault, and those may be a token.
- A request that breaks or is cut off is answered, and its connection stays a moment so that the client reads the
  answer: a close at once, with bytes unread, would reset the connection and take the answer with it.
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
from protocols.http1.states import ServerState, ServerStep, advance

LINGER_IDLE_S: Final = 2.0
"""A sender that waits for an answer before it sends on has it by then."""
AiohttpConnectionMaker = Callable[
    [Callable[["AiohttpConnection"], None], Callable[[], int]], "AiohttpConnection"
]
"""Makes aiohttp's protocol for a connection that is handed over; it tells when that connection is gone."""
RequestMaker = Callable[..., web.BaseRequest]
"""Makes aiohttp's request of a parsed head, its body and its connection."""
_ENDING: Final = (ServerState.LAST, ServerState.CLOSING)
_log = structlog.get_logger("http_api")


class AiohttpConnection(web.RequestHandler):
    """aiohttp's protocol for one connection.

    Args:
        server: aiohttp's server, which counts its connections.
        on_closed: called once, when the connection is lost.
        used: gives the connection a place in the order of use.
        head_s: how long a head may take, from its first byte.
        read_s: how long a client may leave its answers unread.
        options: `web.RequestHandler`'s own.

    Attributes:
        state: where the connection stands (`protocols.http1.states`).
        trusted: a valid API token or session came on it.
        draining: the answer under way is the last: no request behind it is begun.
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
        self._begun = self._answered = 0  # requests
        self._content: StreamReader | None = None  # the body of the last request that was begun
        self._handled: StreamReader | None = None  # the same, until its answer begins
        self._refused_head = False
        self._on_closed = on_closed
        self._next_use = used
        self._order = used()
        self._wire: asyncio.Transport | None = None
        self._closing_since = 0  # the tick at which it was found to be closed here
        self._linger_left = -1  # bytes of a refused body that may still come; below 0: nothing was refused
        self._linger: asyncio.TimerHandle | None = None
        self._head_s = head_s
        self._read_s = read_s
        self._read_timer: asyncio.TimerHandle | None = None  # with a client that does not read
        self._head: asyncio.TimerHandle | None = None  # a head that is not whole
        self._half_closed = asyncio.Event()  # the client sends no more, or the connection is lost
        self.trusted = False
        self.draining = False
        self._on_drain: Callable[[], None] | None = None  # of a streamed request under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: aiohttp forgets it when it closes, with answers unread perhaps."""
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def check_timeouts(self, ticks: int, timeouts: HttpTimeouts) -> None:
        """Drop a connection that is closed here and whose client does not read its last answers."""
        if self._wire is None or not self._wire.is_closing():
            return
        self._step(ServerStep.CLOSE)
        self._closing_since = self._closing_since or ticks
        if (ticks - self._closing_since) * timeouts.tick_s > timeouts.read_s:
            self._wire.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel what is done for this client, as aiohttp does."""
        for timer in (self._read_timer, self._head, self._linger):
            if timer is not None:
                timer.cancel()
        self._half_closed.set()
        self._step(ServerStep.LOST)
        super().connection_lost(exc)
        self._on_closed(self)

    def data_received(self, data: bytes) -> None:
        """Let aiohttp read it, and begin the time of a head that is not whole after it."""
        if not data:  # aiohttp goes on with bytes that it has
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
        elif self._head is None and data.strip(b"\r\n"):  # empty lines begin no head (RFC 9112 §2.2)
            self._head = asyncio.get_running_loop().call_later(self._head_s, self._late_head)
        self._note_input()

    def request_begun(self, content: StreamReader) -> None:
        """aiohttp begins a request. `content`: its body."""
        self._begun += 1
        self._content = self._handled = content
        self._end_broken_input()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer, as aiohttp does, and close the connection where it was the last."""
        self._handled = None
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answered += 1
            if self._answered >= self._tracker.heads and self.state is not ServerState.WAITING:
                self._step(ServerStep.ANSWERED)
            self._close_if_done()

    def _note_input(self) -> None:
        """Change the state by the bytes that came."""
        if self.state > ServerState.ANSWERING:
            return
        if self._tracker.in_body:
            self._step(ServerStep.BODY)
        elif not self._is_idle:
            self._step(ServerStep.REQUEST)
        elif self.state is ServerState.BODY:  # of a request that is answered
            self._step(ServerStep.REQUEST)
            self._step(ServerStep.ANSWERED)
        elif self._head is not None:
            self._step(ServerStep.HEAD)

    def _step(self, step: ServerStep) -> None:
        """Change the state. A handler may go on after its connection was lost: nothing changes then."""
        if self.state is not ServerState.CLOSED:
            self.state = advance(self.state, step)

    def _end_broken_input(self) -> None:
        """End the request that never will be whole, once aiohttp has begun every request before it."""
        tracker, content = self._tracker, self._content
        if tracker.cause is None or self._begun < tracker.heads:
            return
        if tracker.in_body:
            if content is not None and not content.is_eof() and content.exception() is None:
                content.set_exception(web.RequestPayloadError("the body is cut off or malformed"))
        elif tracker.hidden and not self._refused_head:
            self._refused_head = True
            super().data_received(BROKEN)

    def pause_writing(self) -> None:
        """The client does not read its answers: give it some time."""
        super().pause_writing()
        if self._on_drain is None:
            self._await_reading()

    def _await_reading(self) -> None:
        self._read_timer = asyncio.get_running_loop().call_later(self._read_s, self.abort)

    def begin_stream(self, on_drain: Callable[[], None]) -> None:
        """A request is answered while its body comes: its handler, not this protocol, bounds the time of both.

        Args:
            on_drain: called once the connection shall end; perhaps at once.
        """
        self._on_drain = on_drain
        if self.draining:
            on_drain()

    def end_stream(self) -> None:
        """Nothing but the end of that request's answer is to be written."""
        self._on_drain = None
        if self._paused and self._read_timer is None:
            self._await_reading()

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that the client's side has not taken yet."""
        return 0 if self._wire is None else self._wire.get_write_buffer_size()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def eof_received(self) -> Any:
        """Keep the transport for answers that are still owed: True. (aiohttp's own always returns None.)

        Nothing more comes: a body or a head that is not whole is refused.
        """
        self._half_closed.set()
        self._tracker.end()
        self._step(ServerStep.END)
        self._end_broken_input()
        self._close_if_done()
        return True

    def drain(self) -> None:
        """Close the connection with the answer under way, or now if nothing is owed."""
        self.draining = True
        if self._on_drain is not None:
            self._on_drain()
        self._step(ServerStep.DRAIN)
        self._close_if_done()

    def abort(self) -> None:
        """Drop the connection."""
        if self._wire is not None:
            self._wire.abort()

    @property
    def idle_since(self) -> int | None:
        """Its place in the order of use while nothing is owed or under way, else None."""
        return self._order if self.state is ServerState.WAITING else None

    @property
    def awaits_client(self) -> bool:
        """Whether the client must act next: send a request or the rest of one, or read its answers."""
        body = self._handled
        unread = self._read_timer is not None or (self._wire is not None and self._wire.is_closing())
        return self._is_idle or unread or not (body is None or body.is_eof())

    def linger(self, most: int) -> None:
        """The body under way is refused: read it away, so that its sender sees the answer before a reset.

        aiohttp does that after the answer, for `lingering_time` at most. Here it also ends after `most` bytes, and
        once nothing has come for `LINGER_IDLE_S`.
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
        """After the last answer: wait until its client has closed, at most `LINGER_IDLE_S`; drop what still comes."""
        transport = self.transport
        if transport is None or self._half_closed.is_set():
            return
        if transport.can_write_eof():  # TLS cannot
            transport.write_eof()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._half_closed.wait(), LINGER_IDLE_S)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP (400), or a failure of ours (500), and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        if status == 400:
            cause = self._tracker.cause if self._tracker.hidden else exc
            found: web.Response = FinalResponse(responses.of_error(refusal_of(cause)), self)
        else:
            _log.error("request_failed", method=request.method, path=request.path, exc_info=exc)
            found = responses.response(responses.of_failure())
        found.headers["Server"] = "rhopush"  # no more than that; `app` leaves it out where it can
        found.force_close()
        return found

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What aiohttp tells of a connection that it ends: broken bodies are the client's, and answered already."""
        about, error = " ".join(map(str, args)), kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            _log.debug("connection_failed", about=about, error=str(error))
        else:
            _log.error("connection_failed", about=about, exc_info=error)

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is owed: every request whose head is whole is read and answered."""
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
    """Make requests as `make` does, and report each to its connection: aiohttp makes one when it begins with it."""

    def request(message: Any, content: StreamReader, protocol: Any, *args: Any) -> web.BaseRequest:
        if isinstance(protocol, AiohttpConnection):
            protocol.request_begun(content)
        return make(message, content, protocol, *args)

    return request


def trust(request: web.Request) -> None:
    """This request's caller has shown a valid API token or session: see `gateway.limits.eviction`."""
    protocol = request.protocol
    if isinstance(protocol, AiohttpConnection):
        protocol.trusted = True


class FinalResponse(web.Response):
    """An answer after which nothing more is read of its connection.

    Args:
        answer: what is said.
        protocol: the connection.
    """

    def __init__(self, answer: responses.HttpResponse, protocol: AiohttpConnection) -> None:
        super().__init__(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body)
        self.set_status(answer.status, responses.REASONS[answer.status])
        self.headers["Connection"] = "close"
        self._protocol = protocol
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the body, and stay until the client has read it."""
        await super().write_eof(data)
        await self._protocol.wait_for_close()
