"""One connection to a provider: the sans-I/O HTTP/2 machine on an asyncio transport.

In each event loop iteration the machine parses the received bytes, the feed receives the outcomes in one call, free
streams are filled from the feed in batches, and the output of each batch is sent in one write. No task, future or
timer is created for a single request.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from gateway.errors import ProviderUnreachable
from gateway.transport.error_text import describe
from gateway.transport.feed import RequestFeed
from gateway.transport.policy import PROVEN, ConnectionFacts
from protocols.http2.client import ClientConnection, ConnectionState, RequestOutcome

WRITE_BUFFER: Final = 1 << 19
"""A batch for a thousand streams is 300 to 500 kB; the default of 64 kB would pause and resume for each batch."""
TICKS: Final = 10
"""Checks of the deadline timer within one deadline, at intervals from `TICK_MIN_S` to `TICK_MAX_S`."""
TICK_MIN_S: Final = 0.02
TICK_MAX_S: Final = 1.0


class ConnectionOwner(Protocol):
    """Receiver of a connection's state changes. The calls are plain and come from the event loop."""

    def connection_full(self, connection: "ProviderConnection") -> None:
        """Called when the connection can accept no request now, although the feed still has some."""

    def connection_left(self, connection: "ProviderConnection") -> None:
        """Called once, when the connection accepts no further requests."""

    def connection_gone(self, connection: "ProviderConnection") -> None:
        """Called once and last, when the transport is closed and all outcomes are returned."""


class ProviderConnection(asyncio.Protocol):
    """An HTTP/2 machine, its transport and its timer.

    Attributes:
        machine: the HTTP/2 state.
        successes: requests accepted so far (2xx); not counted any further at PROVEN.
        opened_s: time at which the transport was connected.
        fault: the reason why the connection must not be used, if the handshake did not negotiate HTTP/2.
        retired: whether `retire` ended its use for a reason of this side, not of the peer.
        giving_outcomes: whether its outcomes are being returned to the feed at this moment.
        ended: done when the transport is closed and every outcome has been returned.
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
            machine: a new machine.
            feed: source of requests and receiver of outcomes.
            owner: receiver of state changes.
            deadline_s: the machine's deadline, which sets the timer's interval.
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
        """Whether the connection is neither draining nor closed."""
        return self.machine.state <= ConnectionState.OPEN

    @property
    def facts(self) -> ConnectionFacts:
        """The input of the pool's decision."""
        machine = self.machine
        full = self._paused or machine.capacity == 0
        return ConnectionFacts(full, self.successes, throttled=machine.limit < machine.limit_peak)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio. The TLS handshake is complete at this point: without `h2` in ALPN the peer cannot be used."""
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
        # otherwise the next batch is scheduled anyway, and one in each iteration is enough
        if self._pump_again is None:
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
        try:
            self._give_outcomes(self.machine.lost(reason))
        finally:  # also after a defect of the feed: the pool opens another connection, and its close waits for this one
            self._leave()
            self.ended.set_result(None)
            self._owner.connection_gone(self)

    def pump(self) -> None:
        """Fill free streams, write the output, return the resulting outcomes, and close if the machine is finished.

        Callable at any time, also by a feed within `on_outcomes`.
        """
        transport = self._transport
        if transport is None or self._timer is None or transport.is_closing():
            return  # not started, or ended
        self._exchange(transport)
        if self.machine.state is not ConnectionState.OPEN:
            self._close_if_done(transport)
            self._leave()
        # Not if there is room: a feed may hold requests back (rate limit, circuit breaker) and then wakes the pool
        # later.
        if self._feed.waiting() and self.facts.full:
            self._owner.connection_full(self)

    def retire(self, reason: str, *, useless: bool = False) -> None:
        """Accept no more requests; close when the open ones have ended.

        Args:
            reason: the reason, fit for a log.
            useless: whether the peer reported that it does not serve this connection.
        """
        self.retired = not useless
        self.machine.retire(reason)
        self.pump()

    def abort(self) -> None:
        """Close the transport immediately. Open requests become unknown when the loop reports the loss."""
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
            # A peer that reads nothing gets no answers to its PINGs either; the engine ends the connection when they
            # are too many.
            output = b"" if self._paused else machine.take_output()
            if output:
                transport.write(output)
            if machine.has_outcomes:
                # A request that could not be sent: its stream is free for the next.
                self._give_outcomes(machine.take_outcomes())
            elif self._paused or not machine.capacity or (room and not deliveries):
                return
            elif len(deliveries) == max_batch:
                # Other callbacks of this loop run in between: a small ping's next step must not wait for a thousand
                # deliveries.
                self._pump_again = self._pump_again or asyncio.get_running_loop().call_soon(self._continue)
                return
            # Otherwise the output contained data that had waited for the peer's window, so there is room again.

    def _continue(self) -> None:
        self._pump_again = None
        self.pump()

    def _give_outcomes(self, outcomes: list[RequestOutcome]) -> None:
        if self.successes < PROVEN:
            self.successes += sum(200 <= outcome.status < 300 for outcome in outcomes)
        if outcomes:
            self.giving_outcomes = True
            try:
                self._feed.on_outcomes(outcomes)
            finally:
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
            # The process was suspended. Responses may wait in the socket, and are read before the next check.
            return
        outcomes = self.machine.expire(self._clock())
        if outcomes:
            self._give_outcomes(outcomes)
        self.pump()
