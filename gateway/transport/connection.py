"""One connection to a provider: the HTTP/2 machine on an asyncio transport.

Per turn of the loop: what arrived is read by the machine, its outcomes go to the feed in one call, free
streams are filled from the feed in batches, and the output of each leaves in one write. No task, future or
timer belongs to a request.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from gateway.errors import ProviderUnreachable
from gateway.transport.error_text import describe
from gateway.transport.feed import RequestFeed
from gateway.transport.policy import PROVEN, ConnectionFacts
from protocols.http2.client import ClientConnection, ConnectionState, RequestOutcome

# A batch for a thousand streams is 300 to 500 kB; the default of 64 kB would pause and resume for each.
WRITE_BUFFER: Final = 1 << 19
# The deadline timer is coarse: so many looks within a deadline, but none more often than this.
TICKS: Final = 10
TICK_MIN_S: Final = 0.02
TICK_MAX_S: Final = 1.0


class ConnectionOwner(Protocol):
    """Who is told what becomes of a connection. Plain calls from the event loop."""

    def connection_full(self, connection: "ProviderConnection") -> None:
        """It can take no more now, and the feed still has requests."""

    def connection_left(self, connection: "ProviderConnection") -> None:
        """It takes no more requests, ever. Said once."""

    def connection_gone(self, connection: "ProviderConnection") -> None:
        """Its transport is gone and all its outcomes are given. Said once, the last of all."""


class ProviderConnection(asyncio.Protocol):
    """A machine, its transport and its timer.

    Attributes:
        machine: the HTTP/2 state.
        successes: requests accepted so far (2xx); no longer counted when there are PROVEN.
        opened_s: when the transport was made.
        fault: why it must not be used at all, if the handshake ended in something else than HTTP/2.
        retired: we ended its use ourselves, through `retire`, and not because it was of no use.
        giving_outcomes: its outcomes are being given to the feed at this moment.
        ended: done when the transport is gone and every outcome has been given.
    """

    def __init__(
        self,
        machine: ClientConnection,
        feed: RequestFeed,
        owner: ConnectionOwner,
        *,
        deadline_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Prepare a connection; nothing is sent before `start`.

        Args:
            machine: a fresh one.
            feed: where requests come from and outcomes go to.
            owner: who is told of its life.
            deadline_s: the machine's deadline, which sets the timer's pace.
            clock: monotonic seconds, the machine's clock.
        """
        self.machine = machine
        self.successes = 0
        self.opened_s = 0.0
        self.fault: ProviderUnreachable | None = None
        self.retired = False
        self.giving_outcomes = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._clock = clock
        self._owner = owner
        self._tick_s = min(TICK_MAX_S, max(TICK_MIN_S, deadline_s / TICKS))
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pump_again: asyncio.Handle | None = None
        self._tick_due_s = 0.0
        self._paused = False
        self._taking = True

    @property
    def takes_requests(self) -> bool:
        """Whether it is neither draining nor closed."""
        return self.machine.state <= ConnectionState.OPEN

    @property
    def facts(self) -> ConnectionFacts:
        """What the pool's decision looks at."""
        machine = self.machine
        full = self._paused or machine.capacity == 0
        return ConnectionFacts(full, self.successes, throttled=machine.limit < machine.limit_peak)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio. Over TLS the handshake is over: without `h2` there is no speaking to this peer."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.opened_s = self._clock()
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.fault = ProviderUnreachable("the server does not offer HTTP/2 (ALPN)")
            self._transport.abort()

    def start(self) -> None:
        """Send the preface and the first requests, and start the timer."""
        self._schedule_tick()
        self.pump()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        outcomes = self.machine.receive(data, self._clock())
        if outcomes:
            self._give_outcomes(outcomes)
        if self._pump_again is None:  # else the next batch is due anyway, and one a turn is enough
            self.pump()

    def pause_writing(self) -> None:
        """See asyncio."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self._paused = False
        self.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if self._timer is not None:
            self._timer.cancel()
        reason = "connection lost" if exc is None else f"connection lost: {describe(exc)}"
        self._give_outcomes(self.machine.lost(reason))
        self._leave()
        self.ended.set_result(None)
        self._owner.connection_gone(self)

    def pump(self) -> None:
        """Fill free streams, write what there is, give what that decided, close if the machine is done.

        May be called at any time, also by a feed from within `on_outcomes`.
        """
        transport = self._transport
        if transport is None or self._timer is None or transport.is_closing():
            return  # not started, or at its end
        self._exchange(transport)
        if self.machine.state is not ConnectionState.OPEN:
            self._close_if_done(transport)
            self._leave()
        # Not if there is room: a feed may hold requests back (a rate, a breaker), and wakes the pool later.
        if self._feed.waiting() and self.facts.full:
            self._owner.connection_full(self)

    def retire(self, reason: str, *, useless: bool = False) -> None:
        """Take no more requests; close when the open ones have ended.

        Args:
            reason: why, fit for a log.
            useless: the peer said that it does not serve this connection.
        """
        self.retired = not useless
        self.machine.retire(reason)
        self.pump()

    def abort(self) -> None:
        """Drop the transport now. What is open becomes unknown when the loop reports the loss."""
        if self._transport is not None:
            self._transport.abort()

    def _exchange(self, transport: asyncio.Transport) -> None:
        machine = self.machine
        while True:
            room = 0 if self._paused else machine.capacity
            max_batch = self._feed.max_batch()
            deliveries = self._feed.take(min(room, max_batch)) if room else ()
            if deliveries:
                machine.submit_batch(deliveries, self._clock())
            # A peer that reads nothing gets no answers to its PINGs either: the engine ends it when they are too many.
            output = b"" if self._paused else machine.take_output()
            if output:
                transport.write(output)
            if machine.has_outcomes:
                # A request that could not be sent: its stream is free for the next.
                self._give_outcomes(machine.take_outcomes())
            elif self._paused or not machine.capacity or (room and not deliveries):
                return
            elif len(deliveries) == max_batch:
                # Others of this loop come in between: a small ping's next step must not wait for a thousand sends.
                self._pump_again = self._pump_again or asyncio.get_running_loop().call_soon(self._continue)
                return
            # Else the output has emptied what waited for the peer's window: there is room after all.

    def _continue(self) -> None:
        self._pump_again = None
        self.pump()

    def _give_outcomes(self, outcomes: list[RequestOutcome]) -> None:
        if self.successes < PROVEN:
            self.successes += sum(200 <= outcome.status < 300 for outcome in outcomes)
        if outcomes:
            self.giving_outcomes = True
            self._feed.on_outcomes(outcomes)
            self.giving_outcomes = False

    def _close_if_done(self, transport: asyncio.Transport) -> None:
        if self.machine.state is ConnectionState.CLOSED:
            if self.machine.silent:
                transport.abort()
            else:
                transport.close()

    def _leave(self) -> None:
        if self._taking and not self.takes_requests:
            self._taking = False
            self._owner.connection_left(self)

    def _schedule_tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._tick_due_s = self._clock() + self._tick_s
        self._timer = loop.call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        late_s = self._clock() - self._tick_due_s
        self._schedule_tick()
        if late_s > self._tick_s:
            # The process stood still. Answers may wait in the socket: they are read before the next look.
            return
        outcomes = self.machine.expire(self._clock())
        if outcomes:
            self._give_outcomes(outcomes)
        self.pump()
