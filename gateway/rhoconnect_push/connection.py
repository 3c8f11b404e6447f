"""One device's or app's connection: HTTP/1.1 in, one answer for each request.

A connection that waits for a message is this object, its transport and its place among the polls: no
parser, task, timer or request object. A request that comes before the answer to the one before it is not
read, and the connection ends after that answer: no device or app server of RhoConnect's pipelines.
"""

import asyncio
from typing import Final, Protocol, cast

import orjson

from gateway.errors import BodiesFull
from gateway.limits.body_budget import SMALL_BYTES, BodyBudget, BodyReservation
from gateway.rhoconnect_push.request_parser import BODY_BYTES_MAX, HEAD_BYTES_MAX, PushRequest, RefusedRequest
from protocols.http1.states import ServerState, ServerStep, advance

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_READING: Final = (ServerState.HEAD, ServerState.BODY)
_OWED: Final = (ServerState.ANSWERING, ServerState.LAST)  # a request is whole and not answered
_REFUSED_S: Final = 2.0  # a refused client may read its answer for so long
_CAUSES: Final = {
    400: ("malformed_request", "this is no HTTP/1.1 request"),
    408: ("request_timeout", "the request did not come in time"),
    413: ("body_too_large", f"a body may have at most {BODY_BYTES_MAX} bytes"),
    431: ("head_too_large", f"a request's line and headers may have at most {HEAD_BYTES_MAX} bytes"),
    503: ("bodies_full", "the gateway holds as many bodies as it may (limits.bodies_bytes)"),
}


class PushServiceInterface(Protocol):
    """The part of the service (`gateway.rhoconnect_push.service`) that a connection uses.

    Attributes:
        bodies: counts long bodies.
        draining: whether each connection ends after its answer.
    """

    bodies: BodyBudget
    draining: bool

    def connection_opened(self, connection: "PushConnection") -> bool:
        """Register a new connection. False: there is no room."""

    def refuse(self, transport: asyncio.Transport) -> None:
        """End a connection for which there is no room."""

    def request_started(self, connection: "PushConnection") -> None:
        """Start the time limit of a request."""

    def request_answered(self, connection: "PushConnection") -> None:
        """Start the time limit of an idle connection."""

    def connection_closed(self, connection: "PushConnection") -> None:
        """Remove a connection that is closed."""

    def handle(self, connection: "PushConnection", request: PushRequest) -> None:
        """Handle a whole request."""

    def head(self, status: int, length: int, closing: bool) -> bytes:
        """The head of a response, up to further headers."""


class PushConnection(asyncio.Protocol):
    """A connection.

    Args:
        service: what all connections share.

    Attributes:
        state: where the connection stands (`protocols.http1.states`).
        order: its place in the order of use, among all connections.
        trusted: a valid id, or valid credentials of a user or an app came on it.
        instance, last, turn, asking, since: of the poll that waits (`gateway.rhoconnect_push.long_polls.Poll`).
    """

    __slots__ = (
        "_dropping",
        "_request",
        "_reservation",
        "_service",
        "_transport",
        "asking",
        "instance",
        "last",
        "order",
        "since",
        "state",
        "trusted",
        "turn",
    )

    def __init__(self, service: PushServiceInterface) -> None:
        self._service = service
        self._transport: asyncio.Transport | None = None
        self._request: PushRequest | None = None
        self.state = ServerState.WAITING
        self.order = 0
        self.trusted = False
        self._dropping: asyncio.TimerHandle | None = None  # of a refused connection
        self._reservation: BodyReservation | None = None  # of a request that is not answered yet
        self.instance = b""
        self.last = self.turn = self.since = 0
        self.asking = False

    # -- what the transport calls
    # -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch the new connection. (uvloop's transports are no subclass of asyncio's.)"""
        self._transport = cast("asyncio.Transport", transport)
        if not self._service.connection_opened(self):
            self.state = advance(self.state, ServerStep.LOST)
            self._service.refuse(self._transport)

    def data_received(self, data: bytes) -> None:
        """Read on; hand over the request once it is whole."""
        if self.state >= ServerState.ANSWERING:
            if self.state is ServerState.ANSWERING:
                self.state = advance(self.state, ServerStep.DRAIN)  # a pipelined request is not taken
            return
        reading = self._request
        if reading is None:
            reading = self._request = PushRequest()
            self.state = advance(self.state, ServerStep.HEAD)
            self._service.request_started(self)
        try:
            reading.feed(data)
            self._hold(reading.body_bytes)
        except RefusedRequest as refused:
            self.refuse(refused.answer)
            return
        except BodiesFull:
            self.refuse(503)
            return
        if reading.complete:
            self._request = None
            keep = reading.keep and not reading.overrun
            self.state = advance(self.state, ServerStep.REQUEST if keep else ServerStep.LAST_REQUEST)
            self._service.handle(self, reading)
            return
        if reading.method:  # the head is whole
            self.state = advance(self.state, ServerStep.BODY)
        if reading.expects and self._transport is not None:
            reading.expects = False
            self._transport.write(_CONTINUE)

    def _hold(self, count: int) -> None:
        """Count a long body. Raises BodiesFull: it does not fit."""
        if count > SMALL_BYTES:
            self._reservation = self._reservation or BodyReservation(self._service.bodies)
            self._reservation.reserve(count)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def eof_received(self) -> bool:
        """The client sends no more. An app still gets its answer; a device that waits for a message is gone."""
        self.state = advance(self.state, ServerStep.END)
        if self._request is not None:
            self.refuse(400, ended=True)
        return self.state is ServerState.LAST and not self.instance

    def pause_writing(self) -> None:
        """The client does not even read its small answers."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._transport = None
        self._request = None
        self.state = advance(self.state, ServerStep.LOST)
        self._release()
        if self._dropping is not None:
            self._dropping.cancel()
        self._service.connection_closed(self)

    @property
    def idle_since(self) -> int | None:
        """Its place in the order of use while no request is under way, else None."""
        return self.order if self.state is ServerState.WAITING else None

    @property
    def awaits_client(self) -> bool:
        """Whether the client must act next. A poll that waits for a message does not await its client."""
        return self.state not in _OWED

    @property
    def peer(self) -> str:
        """Address of the other end; "" once the connection is gone."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    # -- answers
    # -----------------------------------------------------------------------------------------------------

    def answer(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        """Answer the request that was handed over.

        Args:
            status: HTTP status.
            body: JSON, or nothing.
            headers: further header lines, each with its CRLF.
        """
        transport = self._transport
        if transport is None or self.state not in _OWED:
            return
        if self._service.draining:
            self.state = advance(self.state, ServerStep.DRAIN)
        self.state = advance(self.state, ServerStep.ANSWERED)
        closing = self.state is ServerState.CLOSING
        self._release()
        self.instance = b""
        transport.write(self._service.head(status, len(body), closing) + headers + b"\r\n" + body)
        if closing:
            transport.close()
        else:
            self._service.request_answered(self)

    def refuse(self, status: int, *, ended: bool = False) -> None:
        """Answer what will not be read to its end, and close once the client has read that.

        A close at once, with bytes unread, would reset the connection and take the answer with it.

        Args:
            status: HTTP status.
            ended: the client sends no more, so that nothing stays unread.
        """
        self._request = None
        self.state = advance(self.state, ServerStep.REFUSE)
        self._release()
        transport = self._transport
        if transport is None:
            return
        code, message = _CAUSES[status]
        body = orjson.dumps({"error": {"code": code, "message": message, "field": None}})
        transport.write(self._service.head(status, len(body), True) + b"\r\n" + body)
        if ended or not transport.can_write_eof():  # TLS cannot
            self._close(transport)
            return
        transport.write_eof()
        self._dropping = asyncio.get_running_loop().call_later(_REFUSED_S, self.abort)

    def expire(self) -> None:
        """Its time is over: a request that came too slowly is answered, an idle connection just closed."""
        if self.state in _READING:
            self.refuse(408)
        elif self.state is ServerState.WAITING and self._transport is not None:
            self._close(self._transport)

    def _close(self, transport: asyncio.Transport) -> None:
        self.state = advance(self.state, ServerStep.CLOSE)
        transport.close()

    def finish(self) -> None:
        """Close once nothing is owed."""
        if self.state in _OWED:
            self.state = advance(self.state, ServerStep.DRAIN)
        else:
            self.abort()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
