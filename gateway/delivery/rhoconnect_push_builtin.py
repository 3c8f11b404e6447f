"""The lane to RhoConnect Push devices whose push service is this gateway: a delivery is a message in Redis.

Accepted means queued: the device fetches the message with its next poll, or gets it at once if a poll is open. A
token without a registration is finally rejected. It is not marked dead, since looking it up is cheap here and a
device that registers again keeps its client.

A message has its ping's id as its name, so a delivery that is repeated because Redis' reply was lost is queued
once.
"""

import asyncio
from functools import partial
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkEvent, LinkState
from gateway.delivery.provider import Provider
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
"""Messages given to Redis without a reply yet: ten script calls."""
_NO_REDIS: Final = "Redis does not answer"
_UP: Final = LinkState.UP


class BuiltinRhoConnectPushLane(Lane):
    """The lane to RhoConnect Push devices inside this gateway.

    Args:
        provider: composes messages.
        store: stores the service's messages in Redis.
        retry: settings for the times of retries.
        metrics: counts verdicts.
    """

    def __init__(
        self, provider: Provider, store: MailboxStore, retry: RetrySettings, metrics: Metrics
    ) -> None:
        super().__init__(provider.name, provider, retry, metrics)
        self._store = store
        self._in_flight = 0
        self._accepted: list[Delivery] = []
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()

    def wake(self) -> None:
        """Give Redis as many messages as may be in flight, small pings first."""
        if not self._store.up:
            self._on_link(LinkEvent.FAILED, _NO_REDIS)
            return
        if self._link.state is not _UP:
            self._on_link(LinkEvent.CONNECTED)
        may_begin = self._may_begin(min(len(self._backlog), IN_FLIGHT_MAX - self._in_flight))
        small, bulk = self._backlog.small, self._backlog.bulk
        now_ms = SHARED_CLOCK.now_ms()
        begun, first = 0, None
        while begun < may_begin and (delivery := self._next(small, bulk, now_ms)) is not None:
            first = first or delivery
            begun += 1
            self._enqueue_message(delivery)
        if first is not None:
            self._times.begun(first, begun, now_ms)
        self._count_begun(begun)

    @property
    def in_flight(self) -> int:
        """Messages given to Redis without a reply yet."""
        return self._in_flight

    async def close(self, budget_s: float) -> None:
        """Wait for the messages in flight, within the budget; waiting deliveries stay in their batches."""
        self._stop_waiting()
        try:
            async with asyncio.timeout(budget_s):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("rhoconnect_push_lane_closed", in_flight=self._in_flight)

    def _enqueue_message(self, delivery: Delivery) -> None:
        message = delivery.message
        if not isinstance(message, RhoConnectPushMessage):
            raise TypeError(f"{message!r} is not a message for RhoConnect Push devices")
        self._in_flight += 1
        self._idle.clear()
        posting = MailboxMessage(delivery.device.pin, message.data, message.collapse, name=message.name)
        self._store.post(posting, partial(self._on_reply, delivery))

    def _on_reply(self, delivery: Delivery, reply: Reply) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
        if isinstance(reply, ConnectionLost):
            self._times.unprocessed(delivery)
            self._requeue(delivery)
            self._on_link(LinkEvent.FAILED, _NO_REDIS)
        elif isinstance(reply, StoreDown):
            self._times.ended((delivery,))
            self._later(delivery, Verdict(VerdictKind.UNKNOWN, reply.label), 0)
        elif not reply:
            self._times.ended((delivery,))
            delivery.batch.mark_dead(delivery.index)
            self._reject(delivery, NOT_REGISTERED)
        else:
            if not self._accepted:
                self._loop.call_soon(self._count)
            self._accepted.append(delivery)
            delivery.batch.accept(delivery.index)
        if self._in_flight < IN_FLIGHT_MAX // 2 and len(self._backlog):
            self.wake()

    def _count(self) -> None:
        deliveries, self._accepted = self._accepted, []
        self._times.ended(deliveries)
        self._count_accepted(deliveries)
