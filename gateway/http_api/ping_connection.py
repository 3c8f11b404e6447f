"""One connection of the fast path, as long as its client sends plain pings; any other request goes to aiohttp.

`gateway.http_api.fast_path` says how both work together.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol, cast

from gateway.errors import RhoPushError, TooSlow
from gateway.http_api import responses
from gateway.http_api.admission import LATE
from gateway.http_api.aiohttp_handler import HandedMaker
from gateway.http_api.client_address import ClientAddresses, address_group
from gateway.http_api.dependencies import PingQueue, Times
from gateway.http_api.idle_eviction import Connections, HttpConnection
from gateway.http_api.pending_response import ResponseContext, Slot
from gateway.http_api.request_head import PREFIX, Head, Heads, may_be_ours
from gateway.http_api.wait import WaitedPing
from gateway.limits.body_budget import Holding
from gateway.registry.accounts import Standing
from protocols.ping.parse import Submission, from_json

_END: Final = b"\r\n\r\n"
_SLOTS_MAX: Final = 256  # pings of one connection that wait for the queue; more are left in the socket
_IDLE, _HEAD, _BODY = 0, 1, 2  # what a connection waits for


class ConnectionContext(ResponseContext, Protocol):
    """The part of the listening protocol (`gateway.http_api.fast_path`) that a connection uses.

    Attributes:
        queue: takes pings.
        clients: finds the address of a request's client.
        handler: makes aiohttp's protocol for a connection that is handed over.
        loop: runs the connections.
        connections: all connections of the port.
        fast: whether pings are answered without aiohttp.
        heads: parses request heads.
        small_body: the largest body that is read before its caller is known.
        draining: whether each connection ends after its responses.
        ticks: of the coarse clock.
    """

    queue: PingQueue
    clients: ClientAddresses
    handler: HandedMaker
    loop: asyncio.AbstractEventLoop
    connections: Connections
    fast: bool
    heads: Heads
    small_body: int
    draining: bool
    ticks: int

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside the protocol what must wait."""

    def forget(self, connection: HttpConnection) -> None:
        """Remove a connection that is closed."""


class Connection(asyncio.Protocol):
    """One client's connection, as long as it sends plain pings.

    Args:
        front: what all connections share.
    """

    __slots__ = (
        "_clogged",
        "_closing",
        "_ended",
        "_eof",
        "_flushing",
        "_gone",
        "_handing",
        "_holding",
        "_need",
        "_order",
        "_paused",
        "_reading",
        "_rest",
        "_since",
        "_slots",
        "_stage",
        "_transport",
        "front",
        "trusted",
    )

    def __init__(self, front: ConnectionContext) -> None:
        self.front = front
        self._slots: deque[Slot] = deque()
        self._rest: bytearray | None = None  # a request that is not whole yet, or that must wait
        self._need = 0  # how long `_rest` must be before another look is worth it
        self._stage = _IDLE
        self._since = front.ticks  # the tick at which the stage began
        self._order = 0  # of the last use, among all connections
        self._holding: Holding | None = None  # of a body that is not whole yet
        self._handing = False  # aiohttp gets this connection once the answers before are written
        self._gone = False  # aiohttp has it, or it is lost
        self._ended = False  # no further request is read
        self._eof = False  # the client sends no more
        self._clogged = False  # the client does not read its answers
        self._paused = False  # we do not read its requests
        self._closing = False  # closed, once the client has read its last answers
        self._reading = False  # inside data_received: answers are written at its end
        self._flushing = False  # a flush is called for soon
        self.trusted = False  # a valid API token came on it

    # -- what the transport calls ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch the new connection. (uvloop's transports are no subclass of asyncio's.)"""
        self._transport = cast("asyncio.Transport", transport)
        self._order = self.front.connections.next_use()
        if not self.front.connections.enter(self):
            self._gone = True
            self.front.services.connections.refuse(self._transport)

    def data_received(self, data: bytes) -> None:
        """Read as many requests as are whole."""
        rest = self._rest
        if rest is not None:
            rest += data
            if len(rest) < self._need or self._handing:
                return
            data = bytes(rest)
            self._rest = None
            self._release()
        self._reading = True
        self._consume(data)
        self._reading = False
        if self._slots and self._slots[0].ready:
            self._flush()

    def eof_received(self) -> bool:
        """The client sends no more, but may still read: answer what it asked, and what it cut off."""
        self._eof = True
        if self._rest is not None and not self._handing and not self._ended:
            self._release()
            self._hand_over(bytes(self._rest))
            return True
        return bool(self._slots) or self._handing

    def pause_writing(self) -> None:
        """The client does not read its answers: read no more of its requests."""
        self._clogged = True
        self._since = self.front.ticks
        self._pause()

    def resume_writing(self) -> None:
        """It reads again."""
        self._clogged = False
        self._resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; pings that the queue has are accepted all the same."""
        self.front.forget(self)
        self._gone = True
        self._slots.clear()
        self._rest = None
        self._release()

    # -- requests --------------------------------------------------------------------------------------------

    def _consume(self, data: bytes) -> None:
        front, at, size = self.front, 0, len(data)
        while at < size and not self._ended:
            if len(self._slots) >= _SLOTS_MAX:
                self._keep(data[at:], 0)
                self._pause()
                return
            end = data.find(_END, at) if front.fast and data.startswith(PREFIX, at) else -1
            if end < 0:
                self._begin(data[at:])
                return
            end += len(_END)
            head = front.heads.read(data[at:end])
            if head is not None and head.length > front.small_body and not self._is_admin(head):
                head = None  # aiohttp's side asks about the token before it reads the body
            stop = end + head.length if head is not None else 0
            if head is not None and stop > size and self._hold(head):
                self._keep(data[at:], stop - at)
                return
            if head is None or stop > size or not self._take(head, data[end:stop]):
                self._hand_over(data[at:])
                return
            at = stop

    def _is_admin(self, head: Head) -> bool:
        """Whether the token in the header is known to be an admin's."""
        return self.front.intake.tokens.judge(head.token, "") is Standing.ADMIN

    def _hold(self, head: Head) -> bool:
        """Count a body that is not whole yet; False: it does not fit now."""
        judged = self._is_admin(head)
        self.trusted = self.trusted or judged
        self._holding = Holding(self.front.services.bodies, judged=judged)
        return self._holding.fits(head.length)

    def _release(self) -> None:
        if self._holding is not None:
            self._holding.release()
            self._holding = None

    def _begin(self, start: bytes) -> None:
        """Keep a head that is not whole yet, if it may become one of ours."""
        if self.front.fast and may_be_ours(start):
            self._keep(start, 0)
        else:
            self._hand_over(start)

    def _keep(self, rest: bytes, need: int) -> None:
        self._rest = bytearray(rest)
        self._need = need
        stage = _BODY if need else _HEAD
        if stage != self._stage:
            self._stage = stage
            self._since = self.front.ticks

    def _take(self, head: Head, body: bytes) -> bool:
        """Decide about one ping; False: aiohttp must answer it."""
        front = self.front
        self._need = 0
        self._stage = _IDLE
        try:
            submission = from_json(body)
        except RhoPushError as error:
            self._slot(head)(error)
            return True
        slot = self._slot(head)
        standing = front.intake.tokens.judge(head.token, submission.api_token or "")
        if standing is None:
            front.spawn(self._ask(slot, head, submission, body))
        else:
            self._submit(slot, head, submission, body, standing)
        return True

    def _slot(self, head: Head) -> Slot:
        close = head.close or self.front.draining
        slot = Slot(self, close)
        self._slots.append(slot)
        if close:
            self._ended = True
        return slot

    async def _ask(self, slot: Slot, head: Head, submission: Submission, body: bytes) -> None:
        """Ask Redis what the caller's tokens are worth, then go on."""
        holding = Holding(self.front.services.bodies)
        try:
            holding.grow(len(body))
            tokens, client = self.front.intake.tokens, self._client(head)
            standing = await tokens.ask(head.token, submission.api_token or "", client)
            self._submit(slot, head, submission, body, standing)
        except RhoPushError as error:
            slot(error)
        finally:
            holding.release()

    def _client(self, head: Head) -> str:
        """See `gateway.http_api.context.client_of`. Only for a token that must be looked up."""
        peer = self._transport.get_extra_info("peername") or ("",)
        return address_group(self.front.clients.client(peer[0], (head.forwarded_for,)).address)

    def _submit(
        self, slot: Slot, head: Head, submission: Submission, body: bytes, standing: Standing
    ) -> None:
        front = self.front
        key = None
        try:
            front.intake.admit(submission, standing)
            self.trusted = True
            if head.key is not None:
                key = front.intake.once(head.key, head.token, submission, body)
        except RhoPushError as error:
            slot(error)
            return
        if submission.wait:
            front.spawn(self._wait(slot, WaitedPing(front.services, submission, len(body), key)))
            return
        if submission.unknown:
            slot.warned = responses.warning(submission)
        slot.ping_id = front.queue.submit(submission.ping, len(body), slot, key=key)

    async def _wait(self, slot: Slot, ping: WaitedPing) -> None:
        """Answer once every device has its verdict. Whatever happens, there is an answer."""
        answer = responses.of_failure()
        try:
            answer = await ping.answer()
        except RhoPushError as error:
            answer = responses.of_error(error)
        finally:
            slot.answer(answer)

    # -- answers ---------------------------------------------------------------------------------------------

    def settled(self, slot: Slot) -> None:
        """One answer is ready: write it, with its neighbours, if it is the turn of it."""
        slots = self._slots
        if not slots or slots[0] is not slot or self._reading or self._flushing:
            return
        if len(slots) == 1:
            self._flush()
        else:  # its neighbours are of the same commit: let them come
            self._flushing = True
            self.front.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._gone:
            return
        slots, front = self._slots, self.front
        if not slots or not slots[0].ready:
            return
        slot = slots.popleft()
        ready = slot.render(front)
        if slots and slots[0].ready:
            more = [ready]
            while slots and slots[0].ready:
                slot = slots.popleft()
                more.append(slot.render(front))
            ready = b"".join(more)
        self._transport.write(ready)
        if slot.close:
            self._close()
        elif not slots:
            self._after_answers()
        elif self._paused:
            self._resume()

    def _after_answers(self) -> None:
        """Nothing is owed any more: rest, read on, hand over or close."""
        if self._handing:
            self._hand_over_now()
            return
        if self._stage == _IDLE:
            self._since = self.front.ticks
            connections = self.front.connections
            self._order = connections.uses = connections.uses + 1
        if self._paused:
            self._resume()
        if (self._ended or self._eof) and not self._slots and not self._handing:
            self._close()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Go on reading, first with what was left."""
        if not self._paused or self._clogged or self._handing or len(self._slots) > _SLOTS_MAX // 2:
            return
        self._paused = False
        self._transport.resume_reading()
        if self._rest is not None and not self._need:
            self.data_received(b"")

    # -- the way to aiohttp ----------------------------------------------------------------------------------

    def _hand_over(self, data: bytes) -> None:
        self._handing = True
        self._rest = bytearray(data)
        if self._slots:
            self._pause()
        else:
            self._hand_over_now()

    def _hand_over_now(self) -> None:
        transport, data = self._transport, bytes(self._rest or b"")
        self._gone = True
        self._rest = None
        handed = self.front.handler(self.front.forget, self.front.connections.next_use)
        handed.trusted = self.trusted
        self.front.connections.replace(self, handed)
        transport.set_protocol(handed)
        handed.connection_made(transport)
        if data:
            handed.data_received(data)
        if self._clogged:
            handed.pause_writing()
        if self._paused:
            transport.resume_reading()
        if self._eof:
            handed.eof_received()
        if self.front.draining:
            handed.drain()

    # -- the clock -------------------------------------------------------------------------------------------

    def watch(self, ticks: int, times: Times) -> None:
        """End a connection that waits for its client too long; only a late body has an answer (408)."""
        waited_s = (ticks - self._since) * times.tick_s
        if self._clogged or self._closing:
            if waited_s > times.read_s:
                self._transport.abort()
        elif self._slots or self._handing:
            pass  # it waits for us
        elif self._stage == _BODY:
            judged = self._holding is not None and self._holding.judged
            if waited_s > times.body_patience_s(len(self._rest or b""), judged=judged):
                late = responses.of_error(TooSlow(LATE))
                self._transport.write(responses.wire(late, self.front.date, close=True))
                self._close()
        elif waited_s > (times.head_s if self._stage == _HEAD else times.idle_s):
            self._close()

    @property
    def idle_since(self) -> int | None:
        """Its place in the order of use while nothing is owed or under way, else None."""
        resting = self._stage == _IDLE and not self._slots and not self._handing and not self._ended
        return self._order if resting else None

    @property
    def awaits_client(self) -> bool:
        """Whether the client must act next: send a request or the rest of one, or read its answers."""
        return not self._slots and not self._handing

    def _close(self) -> None:
        self._ended = self._closing = True
        self._since = self.front.ticks
        self._transport.close()

    def drain(self) -> None:
        """Take no further request than one whose head is there; close once every answer is written."""
        self._ended = True
        if self._slots:
            self._slots[-1].close = True
        elif self._stage == _BODY:
            self._ended = False  # the ping that is under way is taken; `_slot` ends the connection with it
        elif not self._handing:
            self._close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()
