"""A connection of the fast path: serves plain pings, and hands any other request and the connection to aiohttp.

`gateway.http_api.fast_path` describes the division of work.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

from gateway.errors import RequestTimeout, RhoPushError
from gateway.http_api import responses
from gateway.http_api.admission import LATE
from gateway.http_api.aiohttp_handler import AiohttpConnectionMaker
from gateway.http_api.client_address import ClientAddresses, address_group
from gateway.http_api.dependencies import HttpTimeouts
from gateway.http_api.idle_eviction import HttpConnection, HttpConnections
from gateway.http_api.pending_response import PendingResponse, ResponseContext
from gateway.http_api.token_cache import TokenGrant, is_valid
from gateway.http_api.wait import WaitingRequest
from gateway.limits.body_budget import BodyReservation
from gateway.queue.ping_queue import PingQueue
from gateway.queue.schedule_producer import IngressQueue
from gateway.tracing import PingTracer
from protocols.http1.request_head import RequestHead, RequestHeadParser, may_be_ping
from protocols.http1.response import encode
from protocols.http1.states import AFTER_ANSWERED, AFTER_REQUEST, ServerState, ServerStep, advance
from protocols.ping.overrides import AdditionRules
from protocols.ping.parse import Submission, from_json

_END: Final = b"\r\n\r\n"
_END_BYTES: Final = len(_END)
_PENDING_MAX: Final = 256  # unanswered pings of one connection; further requests stay in the socket
_NONE_MORE: Final = 0  # the same while a token is looked up: anyone can send requests with invented tokens
# A local constant avoids the look-up of an enum's member, a fraction of a microsecond several times for each ping.
_WAITING: Final = ServerState.WAITING
_HEAD: Final = ServerState.HEAD
_BODY: Final = ServerState.BODY
_ANSWERING: Final = ServerState.ANSWERING
_HANDING_OVER: Final = ServerState.HANDING_OVER
_CLOSING: Final = ServerState.CLOSING
_HANDED_OVER: Final = ServerState.HANDED_OVER


class ConnectionContext(ResponseContext, Protocol):
    """The part of the listening protocol (`gateway.http_api.fast_path`) that a connection uses.

    Attributes:
        queue: the queue producer.
        tracer: decides which pings have a trace; None: none has.
        addition_rules: the rules of the parameters of a ping that providers of other packages add.
        client_addresses: resolves the address of a request's client.
        handler: creates aiohttp's protocol for a connection that is handed over.
        loop: the event loop of the connections.
        connections: all connections of the port.
        fast: whether pings are answered without aiohttp.
        heads: the parser of request heads.
        small_body: the largest body that is read before its caller is authenticated.
        draining: whether each connection closes after its responses.
        ticks: the number of ticks of the coarse clock.
    """

    queue: IngressQueue
    tracer: PingTracer | None
    addition_rules: AdditionRules
    client_addresses: ClientAddresses
    handler: AiohttpConnectionMaker
    loop: asyncio.AbstractEventLoop
    connections: HttpConnections
    fast: bool
    heads: RequestHeadParser
    small_body: int
    draining: bool
    ticks: int

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work that must wait beside the protocol."""

    def remove(self, connection: HttpConnection) -> None:
        """Remove a closed connection."""


class PingConnection(asyncio.Protocol):
    """A client's connection, as long as the client sends plain pings.

    Args:
        server: the state shared by all connections.

    Attributes:
        state: state of the connection (`protocols.http1.states`); `_pending` holds the outstanding responses.
        trusted: whether the connection carried a valid API token.
    """

    __slots__ = (
        "_buffer",
        "_client_not_reading",
        "_eof",
        "_flushing",
        "_most_pending",
        "_needed",
        "_order",
        "_paused",
        "_pending",
        "_reading",
        "_reservation",
        "_since",
        "_transport",
        "server",
        "state",
        "trusted",
    )

    def __init__(self, server: ConnectionContext) -> None:
        self.server = server
        self._pending: deque[PendingResponse] = deque()
        self._most_pending = _PENDING_MAX
        self._buffer: bytearray | None = None  # a request that is incomplete, or that must wait
        self._needed = 0  # length of `_buffer` below which the request is known to be incomplete
        self.state = _WAITING
        self._since = server.ticks  # the tick at which the current state began
        self._order = 0  # rank of the last use among all connections
        self._reservation: BodyReservation | None = None  # memory of an incomplete body
        self._eof = False  # the client has closed its side
        self._client_not_reading = False  # the client does not read its responses
        self._paused = False  # reading from the client is paused
        self._reading = False  # inside data_received, which writes the responses at its end
        self._flushing = False  # a flush is scheduled
        self.trusted = False

    # -- calls of the transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the new connection. (uvloop's transports are not a subclass of asyncio's.)"""
        self._transport = cast("asyncio.Transport", transport)
        self._order = self.server.connections.next_use()
        if not self.server.connections.add(self):
            self.state = advance(self.state, ServerStep.LOST)
            self.server.services.connections.refuse(self._transport)

    def data_received(self, data: bytes) -> None:
        """Handle all complete requests in the data."""
        rest = self._buffer
        if rest is not None:
            rest += data
            if len(rest) < self._needed or self.state is _HANDING_OVER:
                return
            data = bytes(rest)
            self._buffer = None
            self._release()
        self._reading = True
        self._consume(data)
        self._reading = False
        if self._pending and self._pending[0].ready:
            self._write_ready()

    def eof_received(self) -> bool:
        """Handle the end of the client's input: answer its complete requests, and refuse an incomplete one."""
        self._eof = True
        if self._buffer is not None and self.state <= _ANSWERING:
            self._release()
            self._hand_over(bytes(self._buffer))
            return True
        self.state = advance(self.state, ServerStep.END)
        self._since = self.server.ticks
        return bool(self._pending)

    def pause_writing(self) -> None:
        """Stop reading requests: the client does not read its responses."""
        self._client_not_reading = True
        self._since = self.server.ticks
        self._pause()

    def resume_writing(self) -> None:
        """Resume: the client reads its responses again."""
        self._client_not_reading = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection. Queued pings stay accepted."""
        self.server.remove(self)
        self.state = advance(self.state, ServerStep.LOST)
        self._pending.clear()
        self._buffer = None
        self._release()

    # -- requests --------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> None:
        server, at, size = self.server, 0, len(data)
        while at < size and self.state <= _ANSWERING:
            if len(self._pending) >= self._most_pending:
                self._keep(data[at:], 0)
                self._pause()
                return
            end = data.find(_END, at) if server.fast else -1
            if end < 0:
                self._begin(data[at:])
                return
            end += _END_BYTES
            block = data[at:end]
            head = server.heads.read(block)
            # A large body of a caller who is not known yet: aiohttp's route checks the token before it reads the body.
            if head is None or (head.length > server.small_body and not self._is_authenticated(head)):
                self._hand_over(data[at:])
                return
            stop = end + head.length
            if stop > size:
                self._begin_body(head, data[at:], stop - at)
                return
            if not self._handle_ping(head, data[end:stop], block):
                self._hand_over(data[at:])
                return
            at = stop

    def _is_authenticated(self, head: RequestHead) -> bool:
        """Return whether the token in the header is cached as valid."""
        return is_valid(self.server.admission.tokens.lookup(head.token, ""))

    def _begin_body(self, head: RequestHead, start: bytes, need: int) -> None:
        """Buffer a request of `need` bytes whose body is incomplete, if the budget has memory for the body."""
        authenticated = self._is_authenticated(head)
        self.trusted = self.trusted or authenticated
        self._reservation = BodyReservation(self.server.services.bodies, authenticated=authenticated)
        if self._reservation.try_reserve(head.length):
            self._keep(start, need)
        else:
            self._hand_over(start)

    def _release(self) -> None:
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _begin(self, start: bytes) -> None:
        """Buffer an incomplete head if it may become a plain ping."""
        if self.server.fast and may_be_ping(start):
            self._keep(start, 0)
        else:
            self._hand_over(start)

    def _keep(self, rest: bytes, need: int) -> None:
        self._buffer = bytearray(rest)
        self._needed = need
        state = advance(self.state, ServerStep.BODY if need else ServerStep.HEAD)
        if state is not self.state:
            self.state = state
            self._since = self.server.ticks

    def _handle_ping(self, head: RequestHead, body: bytes, block: bytes) -> bool:
        """Admit one ping; returns False if aiohttp must answer it. `block`: the bytes of the head."""
        server = self.server
        try:
            submission = from_json(body, server.addition_rules)
        except RhoPushError as error:
            self._add_pending(head).on_outcome(error)
            return True
        if submission.explain is not None:
            return False  # aiohttp's route explains it
        response = self._add_pending(head)
        grant = server.admission.tokens.lookup(head.token, submission.api_token or "")
        if grant is None:
            self._most_pending = _NONE_MORE
            server.spawn(self._authenticate(response, head, submission, body, block))
        else:
            self._submit(response, head, submission, body, grant, block)
        return True

    def _add_pending(self, head: RequestHead) -> PendingResponse:
        close = head.close or self.server.draining
        response = PendingResponse(self, close)
        self._pending.append(response)
        if close:
            self.state = advance(self.state, ServerStep.LAST_REQUEST)
        else:
            self.state = AFTER_REQUEST[self.state]
        return response

    async def _authenticate(
        self,
        response: PendingResponse,
        head: RequestHead,
        submission: Submission,
        body: bytes,
        block: bytes,
    ) -> None:
        """Look the caller's tokens up in Redis, then continue. Further requests of the connection wait unread."""
        reservation = BodyReservation(self.server.services.bodies)
        try:
            reservation.reserve(len(body))
            tokens, client = self.server.admission.tokens, self._client_group(head)
            grant = await tokens.resolve(head.token, submission.api_token or "", client)
            self._submit(response, head, submission, body, grant, block)
        except RhoPushError as error:
            response.on_outcome(error)
        finally:
            reservation.release()
            self._most_pending = _PENDING_MAX
            if self.state <= _ANSWERING:
                self._resume()

    def _client_group(self, head: RequestHead) -> str:
        """Return `gateway.http_api.context.client_of`, computed only for a token that must be looked up."""
        peer = self._transport.get_extra_info("peername") or ("",)
        return address_group(self.server.client_addresses.client(peer[0], (head.forwarded_for,)).address)

    def _submit(
        self,
        response: PendingResponse,
        head: RequestHead,
        submission: Submission,
        body: bytes,
        grant: TokenGrant,
        block: bytes,
    ) -> None:
        server = self.server
        queue: PingQueue = server.queue
        key = None
        try:
            submission = server.admission.admit(submission, grant)
            self.trusted = True
            if head.key is not None:
                key = server.admission.idempotency_key(head.key, head.token, submission, body)
            if submission.deliver_at_ms is not None:
                queue = server.queue.at(submission.deliver_at_ms)
        except RhoPushError as error:
            response.on_outcome(error)
            return
        tracer = server.tracer
        if tracer is not None:
            queue = tracer.queue_of(queue, server.heads.traceparent(block))
        if submission.wait:
            server.spawn(
                self._wait(response, WaitingRequest(server.services, queue, submission, len(body), key))
            )
            return
        if submission.unknown:
            response.warning = responses.warning(submission)
        response.ping_id = queue.submit(submission.ping, len(body), response.on_outcome, key=key)

    async def _wait(self, response: PendingResponse, ping: WaitingRequest) -> None:
        """Respond once every device has its verdict. Every path sets a response."""
        answer = responses.of_failure()
        try:
            answer = await ping.answer()
        except RhoPushError as error:
            answer = responses.of_error(error)
        finally:
            response.respond(answer)

    # -- responses -------------------------------------------------------------------------------------------

    def on_ready(self, response: PendingResponse) -> None:
        """Schedule the write of a response that is ready, together with its neighbours, if it is the next in order."""
        pending = self._pending
        if not pending or pending[0] is not response or self._reading or self._flushing:
            return
        if len(pending) == 1:
            self._write_ready()
        else:  # more responses of the same commit follow: write them together
            self._flushing = True
            self.server.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._pending and self._pending[0].ready:
            self._write_ready()

    def _write_ready(self) -> None:
        """Write the next response, which is ready, and those after it that are ready too."""
        pending, server = self._pending, self.server
        response = pending.popleft()
        ready = response.render(server)
        if pending and pending[0].ready:
            more = [ready]
            while pending and pending[0].ready:
                response = pending.popleft()
                more.append(response.render(server))
            ready = b"".join(more)
        self._transport.write(ready)
        if response.close:
            self._close()
        elif not pending:
            self._after_answers()
        elif self._paused:
            self._resume()

    def _after_answers(self) -> None:
        """Continue after the last outstanding response: wait, read, hand over or close."""
        state = self.state = AFTER_ANSWERED[self.state]
        if state is _WAITING:
            server = self.server
            self._since = server.ticks
            connections = server.connections
            self._order = connections.last_use = connections.last_use + 1
        elif state is _HANDED_OVER:
            self._hand_over_now()
            return
        if self._paused:
            self._resume()
        if state is _CLOSING:
            self._close()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Continue reading, first from the buffer."""
        if (
            not self._paused
            or self._client_not_reading
            or self.state is _HANDING_OVER
            or len(self._pending) > _PENDING_MAX // 2
        ):
            return
        self._paused = False
        self._transport.resume_reading()
        if self._buffer is not None and not self._needed:
            self.data_received(b"")

    # -- hand-over to aiohttp --------------------------------------------------------------------------------

    def _hand_over(self, data: bytes) -> None:
        self.state = advance(self.state, ServerStep.HAND_OVER)
        self._buffer = bytearray(data)
        if self._pending:
            self._pause()
        else:
            self._after_answers()

    def _hand_over_now(self) -> None:
        transport, data = self._transport, bytes(self._buffer or b"")
        self._buffer = None
        aiohttp_connection = self.server.handler(self.server.remove, self.server.connections.next_use)
        aiohttp_connection.trusted = self.trusted
        self.server.connections.replace(self, aiohttp_connection)
        transport.set_protocol(aiohttp_connection)
        aiohttp_connection.connection_made(transport)
        if data:
            aiohttp_connection.data_received(data)
        if self._client_not_reading:
            aiohttp_connection.pause_writing()
        if self._paused:
            transport.resume_reading()
        if self._eof:
            aiohttp_connection.eof_received()
        if self.server.draining:
            aiohttp_connection.drain()

    # -- time limits -----------------------------------------------------------------------------------------

    def check_timeouts(self, ticks: int, timeouts: HttpTimeouts) -> None:
        """End a connection that exceeds a time limit of the client; only a late body has a response (408)."""
        waited_s = (ticks - self._since) * timeouts.tick_s
        if self._client_not_reading or self.state is _CLOSING:
            if waited_s > timeouts.read_s:
                self._transport.abort()
        elif self._pending:
            pass  # the next step is the gateway's
        elif self.state is _BODY:
            authenticated = self._reservation is not None and self._reservation.authenticated
            if waited_s > timeouts.body_patience_s(len(self._buffer or b""), authenticated=authenticated):
                late = responses.of_error(RequestTimeout(LATE))
                self.state = advance(self.state, ServerStep.REFUSE)
                self._transport.write(encode(late, self.server.date, close=True))
                self._close()
        elif waited_s > (timeouts.head_s if self.state is _HEAD else timeouts.idle_s):
            self._close()

    @property
    def idle_since(self) -> int | None:
        """Rank in the order of use while the connection is idle, else None."""
        return self._order if self.state is _WAITING else None

    @property
    def awaits_client(self) -> bool:
        """Whether the next step is the client's: to send a request or the rest of one, or to read its responses."""
        return not self._pending

    def _close(self) -> None:
        self.state = advance(self.state, ServerStep.CLOSE)
        self._since = self.server.ticks
        self._transport.close()

    def drain(self) -> None:
        """Accept no further request beyond one with a complete head, and close once every response is written."""
        if self._pending:
            self._pending[-1].close = True
            self.state = advance(self.state, ServerStep.DRAIN)
        elif self.state is not _BODY:  # else `_add_pending` ends the connection with the current ping
            self._close()

    def abort(self) -> None:
        """Abort the connection."""
        self._transport.abort()
