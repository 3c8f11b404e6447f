"""An HTTP/1.1 connection of a device or an app server.

A connection whose poll waits for a message consists of this object, its transport and its entry among the polls. It
has no parser, task, timer or request object. A pipelined request is not read, and the connection is closed after the
current
response: no device or app server of RhoConnect's pipelines.
"""

import asyncio
from typing import Final, Protocol, cast

import orjson

from gateway.errors import BodiesFull
from gateway.limits.body_budget import SMALL_BYTES, BodyBudget, BodyReservation
from protocols.http1.request_parser import BODY_BYTES_MAX, HEAD_BYTES_MAX, PushRequest, RefusedRequest
from protocols.http1.states import ServerState, ServerStep, advance

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_READING: Final = (ServerState.HEAD, ServerState.BODY)
_OWED: Final = (ServerState.ANSWERING, ServerState.LAST)  # the request is complete and has no response yet
_REFUSED_S: Final = 2.0  # time for a refused client to read the response
_CAUSES: Final = {
    400: ("malformed_request", "the request is not valid HTTP/1.1"),
    408: ("request_timeout", "the request was not complete within its time limit"),
    413: ("body_too_large", f"the body must not exceed {BODY_BYTES_MAX} bytes"),
    431: ("head_too_large", f"the request line and headers must not exceed {HEAD_BYTES_MAX} bytes"),
    503: ("bodies_full", "the request bodies held by the gateway have reached limits.bodies_bytes"),
}


class PushServiceInterface(Protocol):
    """The part of the service (`gateway.rhoconnect_push.service`) that a connection uses.

    Attributes:
        bodies: the memory budget of long bodies.
        draining: whether each connection closes after its response.
    """

    bodies: BodyBudget
    draining: bool

    def connection_opened(self, connection: "PushConnection") -> bool:
        """Register a new connection. Returns False if the connection limit is reached."""

    def refuse(self, transport: asyncio.Transport) -> None:
        """Close a connection beyond the connection limit."""

    def request_started(self, connection: "PushConnection") -> None:
        """Start the time limit of a request."""

    def request_answered(self, connection: "PushConnection") -> None:
        """Start the time limit of an idle connection."""

    def connection_closed(self, connection: "PushConnection") -> None:
        """Remove a connection that is closed."""

    def handle(self, connection: "PushConnection", request: PushRequest) -> None:
        """Handle a complete request."""

    def head(self, status: int, length: int, closing: bool) -> bytes:
        """Return the head of a response, up to further headers."""


class PushConnection(asyncio.Protocol):
    """The protocol of one connection.

    Args:
        service: the service, shared by all connections.

    Attributes:
        state: state of the connection (`protocols.http1.states`).
        order: rank in the order of use among all connections.
        trusted: whether the connection carried a valid id, or valid credentials of a user or an app.
        instance, last, turn, asking, since: the waiting poll (`gateway.rhoconnect_push.long_polls.Poll`).
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
        self._dropping: asyncio.TimerHandle | None = None  # the timer that closes a refused connection
        self._reservation: BodyReservation | None = None  # memory of the body of the unanswered request
        self.instance = b""
        self.last = self.turn = self.since = 0
        self.asking = False

    # -- calls of the transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the new connection. (uvloop's transports are not a subclass of asyncio's.)"""
        self._transport = cast("asyncio.Transport", transport)
        if not self._service.connection_opened(self):
            self.state = advance(self.state, ServerStep.LOST)
            self._service.refuse(self._transport)

    def data_received(self, data: bytes) -> None:
        """Parse the data, and hand over the request once it is complete."""
        if self.state >= ServerState.ANSWERING:
            if self.state is ServerState.ANSWERING:
                self.state = advance(self.state, ServerStep.DRAIN)  # a pipelined request is not read
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
        if reading.method:  # the head is complete
            self.state = advance(self.state, ServerStep.BODY)
        if reading.expects and self._transport is not None:
            reading.expects = False
            self._transport.write(_CONTINUE)

    def _hold(self, count: int) -> None:
        """Reserve memory for a long body. Raises BodiesFull if it exceeds the budget."""
        if count > SMALL_BYTES:
            self._reservation = self._reservation or BodyReservation(self._service.bodies)
            self._reservation.reserve(count)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def eof_received(self) -> bool:
        """Handle the end of the client's input. An app server still gets its response; a device's waiting poll ends."""
        self.state = advance(self.state, ServerStep.END)
        if self._request is not None:
            self.refuse(400, ended=True)
        return self.state is ServerState.LAST and not self.instance

    def pause_writing(self) -> None:
        """Abort: the client does not even read its small responses."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the service."""
        self._transport = None
        self._request = None
        self.state = advance(self.state, ServerStep.LOST)
        self._release()
        if self._dropping is not None:
            self._dropping.cancel()
        self._service.connection_closed(self)

    @property
    def idle_since(self) -> int | None:
        """Rank in the order of use while no request is in progress, else None."""
        return self.order if self.state is ServerState.WAITING else None

    @property
    def awaits_client(self) -> bool:
        """Whether the next step is the client's. While a poll waits for a message, it is not."""
        return self.state not in _OWED

    @property
    def peer(self) -> str:
        """Address of the client; "" once the connection is closed."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""

    # -- responses -------------------------------------------------------------------------------------------

    def answer(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        """Send the response to the request that was handed over.

        Args:
            status: HTTP status.
            body: JSON, or empty.
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
        """Answer a request that will not be read to its end, and close once the client has read the response.

        An immediate close, with unread bytes, would reset the connection and discard the response.

        Args:
            status: HTTP status.
            ended: the client has closed its side, so that no bytes stay unread.
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
        if ended or not transport.can_write_eof():  # TLS cannot half-close
            self._close(transport)
            return
        transport.write_eof()
        self._dropping = asyncio.get_running_loop().call_later(_REFUSED_S, self.abort)

    def expire(self) -> None:
        """Handle the end of the time limit: a late request gets 408, an idle connection is closed."""
        if self.state in _READING:
            self.refuse(408)
        elif self.state is ServerState.WAITING and self._transport is not None:
            self._close(self._transport)

    def _close(self, transport: asyncio.Transport) -> None:
        self.state = advance(self.state, ServerStep.CLOSE)
        transport.close()

    def finish(self) -> None:
        """Close once every request has its response."""
        if self.state in _OWED:
            self.state = advance(self.state, ServerStep.DRAIN)
        else:
            self.abort()

    def abort(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()
