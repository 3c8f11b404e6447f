"""Legacy devices whose push service is this gateway: a send is a message in Redis, and no request at all.

Accepted means queued: the device fetches it with its next poll, or has it at once where a poll waits. A token
without a registration is rejected for good. No mark is left beside the device, since looking costs nothing
here and a device that registers again keeps its client.

A message carries its ping's id as its name, so a send that is repeated because Redis' reply was lost queues
nothing twice.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery
from gateway.delivery.lane import GRACE_S, Lane
from gateway.delivery.provider import Provider
from gateway.delivery.retry import EXPIRED
from gateway.errors import StoreDown
from gateway.mailbox.store import MailboxMessage, MailboxStore
from gateway.metrics import Metrics
from gateway.settings import RetrySettings
from gateway.store.connection import ConnectionLost, Reply
from protocols.rhoconnect_push.message import RhoConnectPushMessage
from protocols.rhoconnect_push.verdicts import NOT_REGISTERED
from protocols.verdict import Verdict, VerdictKind

_log = structlog.get_logger("lane")

IN_FLIGHT_MAX: Final = 2_000
"""Messages given to Redis and not yet answered: ten script calls."""
_DOWN: Final = Verdict(VerdictKind.LATER, "no_connection")


class BuiltinRhoConnectPushLane(Lane):
    """The way to legacy devices inside this gateway.

    Args:
        provider: how pings are told.
        store: the service's part of Redis.
        retry: when sends come again.
        metrics: where verdicts are counted.
    """

    def __init__(
        self, provider: Provider, store: MailboxStore, retry: RetrySettings, metrics: Metrics
    ) -> None:
        super().__init__(provider.name, provider, retry, metrics)
        self._store = store
        self._in_flight = 0
        self._down_since: float | None = None
        self._accepted: list[Delivery] = []
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""
        self._enqueue(deliveries, bulk=bulk)
        self.wake()

    def wake(self) -> None:
        """Give Redis as much as may be in flight, small pings first."""
        if not self._store.up:
            self._went_down()
            return
        self._down_since = None
        now_ms = SHARED_CLOCK.now_ms()
        while self._in_flight < IN_FLIGHT_MAX and (waiting := self._small or self._bulk):
            delivery = waiting.popleft()
            if self._is_over(delivery, now_ms):
                self._end(delivery, EXPIRED)
            else:
                self._enqueue_message(delivery)

    @property
    def in_flight(self) -> int:
        """Messages given to Redis and not yet answered."""
        return self._in_flight

    @property
    def error_text(self) -> str | None:
        """Why this lane cannot send now."""
        return None if self._down_since is None else "Redis does not answer"

    def sweep(self) -> None:
        """Park what waits while Redis is gone; go on once it is back."""
        self._metrics.lane_in_flight(self.name).set(self._in_flight)
        if self._down_since is not None and time.monotonic() - self._down_since > GRACE_S:
            self._park_above(0, _DOWN)
        self.wake()

    async def close(self, budget_s: float) -> None:
        """Wait for what is in flight, within the budget; what waits stays in its units."""
        self._clear()
        try:
            await asyncio.wait_for(self._idle.wait(), budget_s)
        except TimeoutError:
            _log.warning("rhoconnect_push_lane_closed", in_flight=self._in_flight)

    def _enqueue_message(self, delivery: Delivery) -> None:
        message = delivery.message
        if not isinstance(message, RhoConnectPushMessage):
            raise TypeError(f"{message!r} is no message for legacy devices")
        self._in_flight += 1
        self._idle.clear()
        posting = MailboxMessage(delivery.device.pin, message.data, message.collapse, name=message.name)
        self._store.post(posting, partial(self._on_reply, delivery))

    def _on_reply(self, delivery: Delivery, reply: Reply) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(reply, ConnectionLost):
            self._requeue_first(delivery)
            self._went_down()
        elif isinstance(reply, StoreDown):
            self._later(delivery, Verdict(VerdictKind.UNKNOWN, reply.label), 0)
        elif not reply:
            self._end(delivery, NOT_REGISTERED)
        else:
            if not self._accepted:
                self._loop.call_soon(self._count)
            self._accepted.append(delivery)
            delivery.batch.accept(delivery.index)
        if self._in_flight < IN_FLIGHT_MAX // 2 and (self._small or self._bulk):
            self.wake()

    def _count(self) -> None:
        deliveries, self._accepted = self._accepted, []
        self._count_accepted(deliveries)

    def _went_down(self) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            _log.warning("lane_down", lane=self.name, error="Redis does not answer")
