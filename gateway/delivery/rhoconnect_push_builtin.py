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

from gateway.clock import SHARED
from gateway.delivery.batch import Send
from gateway.delivery.lane import GRACE_S, Outlet
from gateway.delivery.providers import PROVIDERS
from gateway.delivery.retry import EXPIRED
from gateway.errors import StoreDown
from gateway.mailbox.store import Posting, RpsStore
from gateway.metrics import Metrics
from gateway.settings import RetrySettings
from gateway.store.connection import LinkLost, Reply
from protocols.devices import RPS
from protocols.rhoconnect_push.message import Message
from protocols.rhoconnect_push.verdicts import NOT_REGISTERED
from protocols.verdict import Kind, Verdict

_log = structlog.get_logger("lane")

IN_FLIGHT_MAX: Final = 2_000
"""Messages given to Redis and not yet answered: ten script calls."""
_DOWN: Final = Verdict(Kind.LATER, "no_connection")


class RpsLane(Outlet):
    """The way to legacy devices inside this gateway.

    Args:
        store: the service's part of Redis.
        retry: when sends come again.
        metrics: where verdicts are counted.
    """

    def __init__(self, store: RpsStore, retry: RetrySettings, metrics: Metrics) -> None:
        super().__init__("rps", PROVIDERS[RPS], retry, metrics)
        self._store = store
        self._in_flight = 0
        self._down_since: float | None = None
        self._accepted: list[Send] = []
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()

    def offer(self, sends: Sequence[Send], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""
        self._let_wait(sends, bulk=bulk)
        self.wake()

    def wake(self) -> None:
        """Give Redis as much as may be in flight, small pings first."""
        if not self._store.up:
            self._went_down()
            return
        self._down_since = None
        now_ms = SHARED.now_ms()
        while self._in_flight < IN_FLIGHT_MAX and (waiting := self._small or self._bulk):
            send = waiting.popleft()
            if self._is_over(send, now_ms):
                self._end(send, EXPIRED)
            else:
                self._give(send)

    @property
    def in_flight(self) -> int:
        """Messages given to Redis and not yet answered."""
        return self._in_flight

    @property
    def trouble(self) -> str | None:
        """Why this lane cannot send now."""
        return None if self._down_since is None else "Redis does not answer"

    def sweep(self) -> None:
        """Park what waits while Redis is gone; go on once it is back."""
        self._metrics.lane_in_flight(self.name).set(self._in_flight)
        if self._down_since is not None and time.monotonic() - self._down_since > GRACE_S:
            self._park_beyond(0, _DOWN)
        self.wake()

    async def close(self, budget_s: float) -> None:
        """Wait for what is in flight, within the budget; what waits stays in its units."""
        self._abandon()
        try:
            await asyncio.wait_for(self._idle.wait(), budget_s)
        except TimeoutError:
            _log.warning("rps_lane_closed", in_flight=self._in_flight)

    def _give(self, send: Send) -> None:
        message = send.message
        if not isinstance(message, Message):
            raise TypeError(f"{message!r} is no message for legacy devices")
        self._in_flight += 1
        self._idle.clear()
        posting = Posting(send.device.pin, message.data, message.collapse, name=message.name)
        self._store.post(posting, partial(self._settle, send))

    def _settle(self, send: Send, reply: Reply) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(reply, LinkLost):
            self._wait_again(send)
            self._went_down()
        elif isinstance(reply, StoreDown):
            self._later(send, Verdict(Kind.UNKNOWN, reply.label), 0)
        elif not reply:
            self._end(send, NOT_REGISTERED)
        else:
            if not self._accepted:
                self._loop.call_soon(self._count)
            self._accepted.append(send)
            send.unit.accept(send.place)
        if self._in_flight < IN_FLIGHT_MAX // 2 and (self._small or self._bulk):
            self.wake()

    def _count(self) -> None:
        sends, self._accepted = self._accepted, []
        self._count_accepted(sends)

    def _went_down(self) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            _log.warning("lane_down", lane=self.name, error="Redis does not answer")
