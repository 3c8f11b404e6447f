"""One client's connection to a simulator: protocol detection and the HTTP/2 server side."""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import orjson

from protocols.headers import Header
from protocols.http2.server import ServerConnection, StreamRequest
from protocols.simulation.faults import FaultAction
from protocols.simulation.record import SimulatedAnswer

PREFACE_START = b"PRI "
"""First bytes of an HTTP/2 connection, with which no HTTP/1.1 request begins (RFC 9113 §3.4)."""


class SimulatedSession(Protocol):
    """The rules for one connection: see `protocols.apns.simulator.ApnsSession`."""

    stream_limit: int
    goodbye: str

    def answer(self, headers: Sequence[Header], body: bytes, now_s: float) -> SimulatedAnswer:
        """Judge one complete request."""


class SimulatorHooks(Protocol):
    """Interface of a simulator towards its connections.

    Attributes:
        open_connections: the open connections.
        closed: whether new connections are refused.
        held: held answers; None: answers are sent immediately.
    """

    open_connections: "set[SimConnection]"
    closed: bool
    held: list[Callable[[], None]] | None

    def open_session(self, transport: asyncio.Transport) -> SimulatedSession:
        """Start the rules for a new connection."""

    def record(self, answer: SimulatedAnswer) -> None:
        """Record a request."""

    def count(self, answered: int) -> None:
        """Count requests that were answered without being parsed."""


class SimConnection(asyncio.Protocol):
    """A connection that is registered with its simulator, which can abort it."""

    def __init__(self, hooks: SimulatorHooks) -> None:
        self.hooks = hooks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register with the simulator; abort the connection if the simulator was closed during its TLS handshake."""
        self.transport = cast(asyncio.Transport, transport)
        self.hooks.open_connections.add(self)
        if self.hooks.closed:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister from the simulator."""
        self.hooks.open_connections.discard(self)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    def cut(self) -> None:
        """Abort the connection."""
        self.transport.abort()


class ProtocolSniffer(SimConnection):
    """Detects a connection's protocol, by ALPN or by its first bytes, and replaces itself by that protocol.

    Args:
        hooks: the simulator.
        http2: makes the protocol for HTTP/2.
        http1: makes the protocol for anything else; None: such a connection is aborted.
    """

    def __init__(
        self,
        hooks: SimulatorHooks,
        http2: Callable[[], asyncio.Protocol],
        http1: Callable[[], asyncio.Protocol] | None,
    ) -> None:
        super().__init__(hooks)
        self._http2 = http2
        self._http1 = http1
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide immediately if TLS has negotiated HTTP/2: the first SETTINGS need not wait for the client."""
        super().connection_made(transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            self._hand_over(self._http2)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes fit only one protocol, since some clients do not support ALPN."""
        self._received += data
        length = min(len(self._received), len(PREFACE_START))
        if self._received[:length] != PREFACE_START[:length]:
            self._hand_over(self._http1)
        elif length == len(PREFACE_START):
            self._hand_over(self._http2)

    def _hand_over(self, make: Callable[[], asyncio.Protocol] | None) -> None:
        if make is None:
            self.cut()
            return
        protocol = make()
        self.hooks.open_connections.discard(self)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self._received:
            protocol.data_received(self._received)


class SimHttp2Connection(SimConnection):
    """HTTP/2 connection with the sans-I/O server machine; its answers follow the session's rules."""

    def __init__(self, hooks: SimulatorHooks) -> None:
        super().__init__(hooks)
        self._highest = 0  # the highest stream whose request was processed
        self._last: int | None = None  # the last stream id in the GOAWAY that was sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first SETTINGS, with the initial limit of the rules."""
        super().connection_made(transport)
        self._session = self.hooks.open_session(self.transport)
        self._limit = self._session.stream_limit
        self._machine = ServerConnection(streams_limit=self._limit)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Judge each complete request, and send all answers in one write."""
        for request in self._machine.receive(data):
            if self.transport.is_closing():
                return
            if self._last is None or request.stream_id <= self._last:
                self._take(request)
        self.flush()

    def flush(self) -> None:
        """Send the machine's output; close the connection if the machine is finished."""
        output = self._machine.take_output()
        if self.transport.is_closing():
            return
        if output:
            self.transport.write(output)
        if self._machine.closed:  # after a GOAWAY: once its last stream has ended
            self.transport.close()

    def go_away(self, reason: str, last_stream_id: int | None = None) -> None:
        """Send GOAWAY with APNs' JSON reason, once; close when the open streams have ended.

        Args:
            reason: the JSON's `reason`.
            last_stream_id: streams above it are not processed; None: all complete requests are processed.
        """
        if self._last is None:
            self._last = self._highest if last_stream_id is None else last_stream_id
            self._machine.go_away(self._last, orjson.dumps({"reason": reason}))
            self.flush()

    def limit_streams(self, limit: int) -> None:
        """Announce another SETTINGS_MAX_CONCURRENT_STREAMS."""
        self._session.stream_limit = limit
        self._follow_limit()
        self.flush()

    def _take(self, request: StreamRequest) -> None:
        answer = self._session.answer(request.headers, request.body, time.time())
        self.hooks.record(answer)
        _DO[answer.action](self, request.stream_id, answer)
        self._highest = max(self._highest, request.stream_id)
        self._follow_limit()
        if self._session.goodbye:
            self.go_away(self._session.goodbye)

    def _follow_limit(self) -> None:
        if self._session.stream_limit != self._limit:
            self._limit = self._session.stream_limit
            self._machine.limit_streams(self._limit)

    # The implementation of each act; the table is below.

    def _send(self, stream_id: int, answer: SimulatedAnswer) -> None:
        if self.hooks.held is not None:
            self.hooks.held.append(lambda: self._send_now(stream_id, answer))
        else:
            self._respond(stream_id, answer)

    def _send_now(self, stream_id: int, answer: SimulatedAnswer) -> None:
        self._respond(stream_id, answer)
        self.flush()

    def _respond(self, stream_id: int, answer: SimulatedAnswer) -> None:
        status = (b":status", b"%d" % answer.status)
        self._machine.respond(stream_id, [status, *answer.headers], answer.body)

    def _delay(self, stream_id: int, answer: SimulatedAnswer) -> None:
        delay_s = int(answer.argument or 0) / 1000
        asyncio.get_running_loop().call_later(delay_s, self._send_now, stream_id, answer)

    def _silence(self, stream_id: int, answer: SimulatedAnswer) -> None:
        """Send no response: the stream stays open until the client resets it."""

    def _refuse(self, stream_id: int, answer: SimulatedAnswer) -> None:
        self._machine.refuse(stream_id)

    def _reset(self, stream_id: int, answer: SimulatedAnswer) -> None:
        self._machine.reset(stream_id, int(answer.argument or 0))

    def _go_away_before(self, stream_id: int, answer: SimulatedAnswer) -> None:
        # a later stream was processed, so GOAWAY cannot name this one
        if self._highest > stream_id or self._last is not None:
            self._machine.refuse(stream_id)
        self.go_away(answer.argument or "", last_stream_id=max(0, stream_id - 2, self._highest))

    def _cut(self, stream_id: int, answer: SimulatedAnswer) -> None:
        self.flush()
        self.cut()


_Do = Callable[[SimHttp2Connection, int, SimulatedAnswer], None]
_DO: dict[FaultAction, _Do] = {
    FaultAction.SEND: SimHttp2Connection._send,
    FaultAction.LIMIT: SimHttp2Connection._send,
    FaultAction.DELAY: SimHttp2Connection._delay,
    FaultAction.SILENCE: SimHttp2Connection._silence,
    FaultAction.REFUSE: SimHttp2Connection._refuse,
    FaultAction.RESET: SimHttp2Connection._reset,
    FaultAction.GOAWAY: SimHttp2Connection._go_away_before,
    FaultAction.CUT: SimHttp2Connection._cut,
}


class AcceptAllConnection(SimConnection):
    """Answers 200 to every request without parsing it, so that it is never the bottleneck of a benchmark.

    Args:
        hooks: the simulator, whose `count` receives the number of answered requests.
        streams: SETTINGS_MAX_CONCURRENT_STREAMS.
        echo: return each request's apns-id, which some clients require.
    """

    _HEADERS = ((b":status", b"200"),)

    def __init__(self, hooks: SimulatorHooks, streams: int, echo: bool) -> None:
        super().__init__(hooks)
        self._machine = ServerConnection(streams_limit=streams, window=1 << 20)
        self._answer = self._echo if echo else self._accept

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first SETTINGS."""
        super().connection_made(transport)
        self.transport.write(self._machine.take_output())

    def data_received(self, data: bytes) -> None:
        """Answer all complete requests in one write."""
        self.hooks.count(self._answer(data))
        output = self._machine.take_output()
        if output and not self.transport.is_closing():
            self.transport.write(output)
        if self._machine.closed:
            self.transport.close()

    def _accept(self, data: bytes) -> int:
        return self._machine.answer_all(data, self._HEADERS)

    def _echo(self, data: bytes) -> int:
        requests = self._machine.receive(data)
        for request in requests:
            given = [header for header in request.headers if header[0] == b"apns-id"]
            self._machine.respond(request.stream_id, [*self._HEADERS, *given])
        return len(requests)
