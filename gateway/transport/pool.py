"""The connections of one credential to one provider.

The pool opens a connection when requests wait, opens another when all are full (see `policy.wants_another`),
replaces those that end while requests wait, and backs off after failures. It makes one attempt at a time, so that an
unreachable provider sees one client per pool.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.errors import ProviderUnreachable
from gateway.scheduling.background import run_in_background
from gateway.transport.connection import ProviderConnection
from gateway.transport.dial import dial
from gateway.transport.feed import Endpoint, RequestFeed
from gateway.transport.policy import Backoff, wants_another
from protocols.http2.client import DEFAULT_LIMITS, ClientConnection, Http2Limits

_JITTER: Final = random.SystemRandom().random


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters that rarely need another value.

    Attributes:
        connect_timeout_s: for look-up, TCP and TLS together.
        backoff_first_s: the wait after a first failure.
        backoff_most_s: the longest wait.
        limits: limits of each connection.
        clock: monotonic seconds.
        jitter: returns numbers in [0, 1).
    """

    connect_timeout_s: float = 10.0
    backoff_first_s: float = 0.5
    backoff_most_s: float = 60.0
    limits: Http2Limits = DEFAULT_LIMITS
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = _JITTER


DEFAULT_TUNING: Final = Tuning()


class ConnectionPool:
    """Takes requests from a feed, sends them, and returns the outcome of each. It belongs to one running loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        feed: RequestFeed,
        *,
        connections_max: int,
        deadline_s: float,
        tuning: Tuning = DEFAULT_TUNING,
    ) -> None:
        """Make an empty pool; it connects at the first `wake` that finds requests.

        Args:
            endpoint: the provider.
            feed: source of requests.
            connections_max: most connections that accept requests at a time; draining ones are not counted.
            deadline_s: longest wait for a response.
            tuning: parameters that rarely need another value.
        """
        self._endpoint = endpoint
        self._feed = feed
        self._connections_max = connections_max
        self._deadline_s = deadline_s
        self._tuning = tuning
        self._loop = asyncio.get_running_loop()
        self._all: list[ProviderConnection] = []
        self._wake_handle: asyncio.Handle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._closing = False
        self._backoff = Backoff(tuning.jitter, first_s=tuning.backoff_first_s, most_s=tuning.backoff_most_s)

    @property
    def connected(self) -> int:
        """Connections that accept requests now."""
        return sum(connection.takes_requests for connection in self._all)

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""
        return sum(connection.machine.in_flight for connection in self._all)

    def wake(self) -> None:
        """Notify the pool that the feed has requests. Several calls in one event loop iteration cost as much as one."""
        if self._wake_handle is None and not self._closing:
            self._wake_handle = self._loop.call_soon(self._woken)

    def reconnect(self, reason: str) -> None:
        """Retire the connection whose outcomes are being returned, since the provider no longer serves it.

        If it never accepted a request, this counts as a failure, so that a provider that refuses every connection is
        contacted with increasing delays.

        Args:
            reason: the provider's reason, fit for a log.
        """
        for connection in tuple(self._all):
            if connection.giving_outcomes:
                connection.retire(reason, useless=True)
        self.wake()

    async def close(self, budget_s: float) -> None:
        """Send no more requests, wait for the open ones, and close every connection.

        Requests without a response after the budget get the outcome unknown. When this method returns, every outcome
        has been returned.

        Args:
            budget_s: how long to wait for responses.
        """
        self._closing = True
        for handle in (self._wake_handle, self._retry):
            if handle is not None:
                handle.cancel()
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.gather(self._dialing, return_exceptions=True)
        remaining = tuple(self._all)
        for connection in remaining:
            connection.retire("closing")
        if remaining:
            ends = [connection.ended for connection in remaining]
            await asyncio.wait(ends, timeout=budget_s)
            for connection in remaining:
                connection.abort()
            await asyncio.wait(ends)

    def connection_full(self, connection: ProviderConnection) -> None:
        """See `connection.ConnectionOwner`: others may have room, or another connection may be needed."""
        for other in tuple(self._all):
            if other is not connection and other.takes_requests and not other.facts.full:
                other.pump()
        self._open_if_needed()

    def connection_left(self, connection: ProviderConnection) -> None:
        """See `connection.ConnectionOwner`: requests that it returned untried are sent on another connection
        immediately."""
        now_s = self._tuning.clock()
        if connection in self._all:
            if connection.successes or not connection.retired:
                self._backoff.ended(connection.successes, now_s - connection.opened_s, now_s)
            machine = connection.machine
            failed = machine.failed or not (connection.successes or connection.retired)
            self._feed.on_connections_changed(self.connected, machine.reason if failed else None)
            self.wake()

    def connection_gone(self, connection: ProviderConnection) -> None:
        """See `connection.ConnectionOwner`."""
        if connection in self._all:
            self._all.remove(connection)
            self.wake()

    def _woken(self) -> None:
        self._wake_handle = None
        for connection in tuple(self._all):
            if not self._feed.waiting():
                return
            connection.pump()
        self._open_if_needed()

    def _open_if_needed(self) -> None:
        """Open another connection if needed, now or when the back-off is over."""
        if self._closing or self._dialing is not None or self._retry is not None:
            return
        links = [connection.facts for connection in self._all if connection.takes_requests]
        if not wants_another(self._feed.waiting(), links, self._connections_max):
            return
        wait_s = self._backoff.wait_s(self._tuning.clock())
        if wait_s > 0:
            self._retry = self._loop.call_later(wait_s, self._retry_now)
        else:
            self._dialing = run_in_background(self._dial, "provider connection", on_error=self._on_defect)

    def _retry_now(self) -> None:
        self._retry = None
        self._open_if_needed()

    async def _dial(self) -> None:
        try:
            connection = await dial(self._endpoint, self._make, self._tuning.connect_timeout_s)
        except ProviderUnreachable as error:
            self._dialing = None
            self._backoff.failed(self._tuning.clock())
            self._feed.on_connections_changed(self.connected, error.message)
        else:
            self._dialing = None
            self._all.append(connection)
            self._feed.on_connections_changed(self.connected, None)
            connection.start()
        self._open_if_needed()

    def _on_defect(self, error: BaseException) -> None:
        """Report an unexpected error; the attempt to open a connection is repeated."""
        self._feed.on_connections_changed(self.connected, f"unexpected error: {type(error).__name__}")

    def _make(self) -> ProviderConnection:
        clock = self._tuning.clock
        machine = ClientConnection(deadline_s=self._deadline_s, now_s=clock(), limits=self._tuning.limits)
        return ProviderConnection(
            machine,
            self._feed,
            self,
            deadline_s=self._deadline_s,
            clock=clock,
        )
