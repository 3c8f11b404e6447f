"""A lane: all traffic of one credential to one provider.

This is the part that all kinds of lanes have in common: the deliveries that wait, the state of the link, the
circuit breaker and the throttle with their log events and metrics, and the ways a delivery leaves the lane:
accepted, rejected, put on the retry schedule, or parked in the lane's share of the backlog in Redis. A kind of
lane adds how requests are sent.

Lanes are bulkheads: each has its own backlog of bounded size, and deliveries that one lane cannot send do not
delay another lane.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.awaited import AwaitedSyncs
from gateway.delivery.backlog import Backlog, WaitingRoomSize, parked_until_ms
from gateway.delivery.batch import Delivery, Postponed
from gateway.delivery.blockage import Blockage
from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.circuit_breaker import (
    BREAKER_OPEN_S,
    CLOSED_BREAKER,
    BreakerEvent,
    BreakerState,
    CircuitBreaker,
)
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane_gauges import LaneGauges
from gateway.delivery.lane_tokens import LaneTokens
from gateway.delivery.lifetime import expires_ms, is_over
from gateway.delivery.link_state import UNTRIED_LINK, Link, LinkEvent, LinkState
from gateway.delivery.provider import Provider
from gateway.delivery.reason_labels import ReasonLabels
from gateway.delivery.request_times import RequestTimes
from gateway.delivery.retry import EXPIRED, LANE_FULL, THROTTLED_S, RetryTiming, decide_retry
from gateway.delivery.route import LaneInterface
from gateway.delivery.throttle import FREE, Throttle, ThrottleState
from gateway.delivery.unsaved import UnsavedCount, UnsavedVerdicts
from gateway.errors import BAD_DATA, InputError, RhoPushError
from gateway.metrics import Metrics
from gateway.settings import RetrySettings
from protocols.http2.client import Header
from protocols.verdict import Remedy, Verdict, VerdictKind

WAITING_DELIVERIES: Final = 8_000
"""Deliveries that may wait in memory for a lane, about 1 KB each, once other lanes need the worker's room."""
PARKED_MAX: Final = 1_000_000
"""Deliveries that a lane may have parked in Redis; further ones end as `lane_full`."""
GRACE_S: Final = 1.0
"""Time for which deliveries wait in memory for a lane that has become unable to send before they are parked."""
RAMP_STEP_S: Final = 0.1
"""Interval at which a lane whose rate is limited begins further requests."""
NO_CONNECTION: Final = "no_connection"
BUSY: Final = Verdict(VerdictKind.LATER, "lane_busy")
_log = structlog.get_logger("lane")
_ROUTE: Final = attrgetter("route")
_noise = random.SystemRandom().random
# Module constants, since access to an enum's member costs three look-ups.
_CLOSED: Final = BreakerState.CLOSED
_OPEN: Final = BreakerState.OPEN
_DOWN: Final = LinkState.DOWN
_FREE: Final = ThrottleState.FREE
_PAUSED: Final = ThrottleState.PAUSED


class Lane(ABC):
    """All traffic of one credential to one provider.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: composes messages and judges responses.
        retry: settings for the times of retries.
        metrics: counts verdicts.
        tokens: receives the provider's responses about device tokens; None: no token is marked.
        deadline_s: longest time for which a request may be without a response.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        retry: RetrySettings,
        metrics: Metrics,
        tokens: TokenReports | None = None,
        deadline_s: float = 15.0,
    ) -> None:
        self.name = name
        self.provider = provider
        self.parked_total = 0
        """Deliveries of this lane that all gateways have parked in Redis, as of the last measurement."""
        self.retry = retry
        """Settings for the times of retries; replaced when settings are reloaded."""
        self.unsaved = UnsavedVerdicts()
        """Whether verdicts can be recorded; the lane manager replaces it with the worker's object."""
        self.awaited: AwaitedSyncs | None = None
        """Waits for the syncs that accepted deliveries cause; set by the lane manager."""
        self.cancelled = CancelledPings(metrics)
        """The cancelled pings; replaced as `unsaved` is."""
        self._metrics = metrics
        self._gauges: Final = LaneGauges(metrics, name)
        self._deadline_s = deadline_s
        self._times = RequestTimes(metrics, provider.name)
        self._backlog = Backlog()
        self._room = WaitingRoomSize()
        self._begun = 0
        """Deliveries that began since the last sweep."""
        self._wanted = False
        """Whether deliveries wait for this lane, in memory or parked: an idle lane needs no connection."""
        self._link = UNTRIED_LINK
        self._breaker = CLOSED_BREAKER
        self._throttle = FREE
        self._blockage = Blockage()
        self._ramp_timer: asyncio.TimerHandle | None = None
        self._unsaved_count = UnsavedCount()
        self._retired = False
        self._successor: LaneInterface | None = None
        self._tokens: Final = LaneTokens(self, tokens)
        self._record_valid: Final = self._tokens.limiter.record_valid
        self._label: Final = ReasonLabels(name, provider.reasons)

    # -- interface of the fan-out ----------------------------------------------------------------------------

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Accept deliveries. Each gets a verdict in its batch, possibly before this returns."""
        if self._retired:
            self._hand_to_successor(deliveries, bulk=bulk)
            return
        if self.cancelled.ids:
            deliveries = self.cancelled.end_own(deliveries)
        self._backlog.add(deliveries, bulk=bulk)
        self._wanted = True
        self.wake()

    @abstractmethod
    def wake(self) -> None:
        """Begin requests. Called when deliveries wait, or when a lane that could not send can send again."""

    @abstractmethod
    async def close(self, budget_s: float) -> None:
        """Finish the requests in flight, within the budget; waiting deliveries stay in their batches, which stay
        in Redis."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Number of requests without a response."""

    @property
    def host(self) -> str:
        """The server that requests go to; "" where this gateway itself is the service."""
        return ""

    @property
    def backlog(self) -> int:
        """Number of deliveries that wait in memory."""
        return len(self._backlog)

    @property
    def halted(self) -> bool:
        """Whether the provider refused the credential and has not accepted it since."""
        return self._breaker.state is not _CLOSED

    @property
    def link(self) -> Link:
        """Whether the provider was reached at the last attempt, and the reason if it was not."""
        return self._link

    @property
    def error_text(self) -> str | None:
        """The reason why this lane cannot send now; None if it can, or if no delivery waits for it."""
        if self.halted:
            return self._breaker.reason
        if self._is_down:
            return self._link.error or NO_CONNECTION
        return self._blockage.reason if self.stuck_s > GRACE_S else None

    @property
    def states(self) -> tuple[Link, CircuitBreaker, Throttle]:
        """The states of the link, the circuit breaker and the throttle."""
        return self._link, self._breaker, self._throttle

    def reset_breaker(self) -> None:
        """Close the circuit breaker at an operator's request, and send what waits."""
        if self.halted:
            _log.info("lane_breaker_closed", lane=self.name, reason=self._breaker.reason)
            self._breaker = self._breaker.after(BreakerEvent.RESET)
            self.wake()

    @property
    def _is_down(self) -> bool:
        """Whether deliveries wait for a connection that cannot be opened."""
        return self._wanted and self._link.state is _DOWN

    @property
    def stuck_s(self) -> float:
        """Seconds for which this lane has been unable to send; 0 if it can send."""
        return 0.0 if self._blockage.reason is None else time.monotonic() - self._blockage.since_s

    def shed_backlog(self) -> None:
        """Park the deliveries beyond this lane's share, since other lanes need the worker's room."""
        self._park_above(max(WAITING_DELIVERIES, self._room.soon(self._begun)), BUSY)

    def end_cancelled(self) -> None:
        """End the waiting deliveries of pings that were cancelled."""
        self.cancelled.end_own(self._backlog.remove(self.cancelled.has))

    async def retire(self, successor: LaneInterface | None) -> None:
        """Stop permanently: give waiting deliveries to a successor, or to the schedule, and finish the requests in
        flight.

        A delivery that is returned unprocessed meanwhile goes the same way.

        Args:
            successor: the lane that replaces this one; None: there is none.
        """
        self._retired, self._successor = True, successor
        for deliveries, bulk in zip(self._backlog.drain(), (False, True), strict=True):
            self._hand_to_successor(deliveries, bulk=bulk)
        await self.close(self._deadline_s)

    def _hand_to_successor(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        if self._successor is not None:
            for delivery in deliveries:
                delivery.route = delivery.route.newest
            self._successor.offer(deliveries, bulk=bulk)
            return
        for delivery in deliveries:
            self._park(delivery, BUSY)

    # -- once a second ---------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Once a second: advance the states, park what waits for a lane that cannot send, and begin what may begin."""
        now_s = time.monotonic()
        self._advance(now_s)
        self._blockage = self._blockage.at(self._find_blockage(), now_s)
        # While verdicts cannot be recorded, parked deliveries cannot be written either.
        if not self.unsaved.stalled:
            self._park_excess()
        self._begun = 0
        self._export()
        if self._wanted:
            self.wake()

    def _advance(self, now_s: float) -> None:
        """Advance the time-dependent states of this lane."""
        self._breaker = self._breaker.at(now_s)
        before, self._throttle = self._throttle, self._throttle.at(now_s)
        if self._throttle.state is _FREE and before.state is not _FREE:
            _log.info("lane_throttle_ended", lane=self.name)

    def _find_blockage(self) -> str | None:
        """The reason why no delivery can be sent at all; None if deliveries can be sent."""
        if self._breaker.state is _OPEN:
            return self._breaker.reason
        return (self._link.error or NO_CONNECTION) if self._is_down else None

    def _park_excess(self) -> None:
        reason = self._blockage.reason
        if reason is None:
            self._park_above(self._room.room(self._begun, len(self._backlog)), BUSY)
        elif self._breaker.state is _OPEN or self.stuck_s > GRACE_S:
            self._park_above(0, Verdict(VerdictKind.LATER, reason))

    def _export(self) -> None:
        down = self._is_down or (not self.halted and self.error_text is not None)
        self._gauges.set(
            in_flight=self.in_flight,
            unsaved=self._unsaved_count.total(self.unsaved),
            is_down=down,
            is_halted=self.halted,
            is_throttled=self._throttle.state is not _FREE,
        )

    def clear_metrics(self) -> None:
        """Set the gauges of this lane, which has ended, to 0; no other lane has its name."""
        self._gauges.clear()

    # -- states ----------------------------------------------------------------------------------------------

    def _on_link(self, event: LinkEvent, error: str = "") -> None:
        """Record that the provider was reached, or could not be reached."""
        before, self._link = self._link, self._link.after(event, error)
        if self._link.state is before.state:
            return
        if self._link.state is _DOWN:
            _log.warning("lane_down", lane=self.name, error=error)
        elif before.state is _DOWN:
            _log.info("lane_up", lane=self.name)

    def _credential_accepted(self) -> None:
        """Record that the provider accepted the credential."""
        if self._breaker.state is not _CLOSED:
            self._breaker = self._breaker.after(BreakerEvent.ACCEPTED)
            if self._breaker.state is _CLOSED:
                _log.info("credential_accepted", lane=self.name)

    def _credential_refused(self, reason: str) -> None:
        if not self.halted:
            _log.error("credential_refused", lane=self.name, reason=reason, looks_again_in_s=BREAKER_OPEN_S)
        self._breaker = self._breaker.after_refusal(reason, time.monotonic())

    def _slow_down(self, verdict: Verdict) -> None:
        """Pause after the provider's rate limit, then raise the rate slowly."""
        delay_s = verdict.delay_s or THROTTLED_S
        if self._throttle.state is _FREE:
            _log.warning("lane_throttled", lane=self.name, reason=verdict.reason, pause_s=delay_s)
        self._throttle = self._throttle.after_limit(delay_s, time.monotonic())

    def _apply(self, verdict: Verdict) -> None:
        """Apply the effects of a verdict on the lane."""
        if verdict.remedy is Remedy.HALT:
            self._credential_refused(verdict.reason)
        elif verdict.remedy is Remedy.THROTTLE:
            self._slow_down(verdict)

    def _stands_still(self) -> bool:
        """Whether no request may begin at all."""
        return self.unsaved.stalled or self._breaker.state is _OPEN or self._throttle.state is _PAUSED

    def _may_begin(self, wanted: int) -> int:
        """Number of the `wanted` requests that may begin now. Called once for many deliveries."""
        unsaved = self.unsaved
        if unsaved.stalled or time.monotonic() > unsaved.fresh_until_s:
            return 0
        if self._breaker.state is not _CLOSED:
            # One delivery tests the credential.
            wanted = 0 if self._breaker.state is _OPEN or self.in_flight else min(wanted, 1)
        if self._throttle.state is _FREE:
            return wanted
        if self._throttle.state is _PAUSED:
            return 0
        self._throttle = self._throttle.counted(time.monotonic())
        if self._throttle.tokens < wanted and self._ramp_timer is None:
            self._ramp_timer = asyncio.get_running_loop().call_later(RAMP_STEP_S, self._ramp_further)
        return min(wanted, int(self._throttle.tokens))

    def _ramp_further(self) -> None:
        self._ramp_timer = None
        self.wake()

    def _count_begun(self, requests: int) -> None:
        """Count requests that began."""
        self._begun += requests
        if self._throttle.state is not _FREE:
            self._throttle = self._throttle.spent(requests)

    # -- the backlog -----------------------------------------------------------------------------------------

    def _next(self, small: deque[Delivery], bulk: deque[Delivery], now_ms: int) -> Delivery | None:
        """The next delivery that is still worth sending, small pings first. The hot path."""
        while waiting := small or bulk:
            delivery = waiting.popleft()
            if delivery.batch.lease_lost:
                continue
            # The first condition alone is true for most, and costs less than a call.
            if delivery.message.expires_ms > now_ms or not is_over(delivery, now_ms):
                return delivery
            self._end(delivery, EXPIRED)
        self._wanted = False
        return None

    def _requeue(self, delivery: Delivery) -> None:
        """Put a delivery that did not begin in front of the others, or give it to the successor."""
        if self.cancelled.ids and not self.cancelled.end_own((delivery,)):
            return
        if self._retired:
            self._hand_to_successor([delivery], bulk=delivery.batch.bulk)
            return
        self._backlog.put_back(delivery)
        self._wanted = True

    def _park_above(self, room: int, verdict: Verdict) -> None:
        """Park the newest waiting deliveries until only `room` are left in memory."""
        for delivery in self._backlog.excess(room):
            self._park(delivery, verdict)

    def _stop_waiting(self) -> None:
        """Empty the backlog of a lane that closes. The deliveries stay in their batches, which stay in Redis."""
        self._backlog.drain()
        self._wanted = False
        if self._ramp_timer is not None:
            self._ramp_timer.cancel()

    # -- verdicts --------------------------------------------------------------------------------------------

    def _judged(self, status: int, headers: Sequence[Header], body: bytes) -> Verdict:
        """Judge a response. An unexpected error counts as a temporary failure: otherwise this delivery, and all whose
        responses arrived together with it, would get no verdict."""
        try:
            return self.provider.judge(status, headers, body, SHARED_CLOCK.now_s())
        except BAD_DATA:
            _log.exception("response_not_judged", lane=self.name, status=status)
            return Verdict(VerdictKind.LATER, RhoPushError.label)

    def _fail(self, delivery: Delivery, error: Exception) -> None:
        """Reject a delivery that cannot be sent, or whose response cannot be judged, because of its data."""
        if not isinstance(error, InputError):
            _log.error("delivery_request_failed", lane=self.name, exc_info=error)
        self._reject(delivery, error.label if isinstance(error, InputError) else RhoPushError.label)

    def _count_accepted(self, deliveries: Sequence[Delivery]) -> None:
        """Count accepted deliveries by app, and how long each took since its ping was accepted."""
        seconds = SHARED_CLOCK.seconds_since([delivery.batch.since_ms for delivery in deliveries])
        accepted = Counter(map(_ROUTE, deliveries))
        self._unsaved_count.add(len(seconds), self.unsaved)
        self._record_valid(len(seconds), time.monotonic())
        for route, count in accepted.items():
            self._metrics.deliveries(self.provider.name, route.app, "accepted", "").inc(count)
            if not route.accepted:
                self._tokens.on_accepted(route)
        self._metrics.delivery_seconds(self.provider.name).observe_many(seconds)
        if self.awaited is not None:
            self.awaited.on_accepted(self.provider.name, deliveries)

    def _later(self, delivery: Delivery, verdict: Verdict, status: int) -> None:
        """Put a delivery on the schedule, or end it if its time to live is over."""
        batch = delivery.batch
        now_ms = SHARED_CLOCK.now_ms()
        first_ms = SHARED_CLOCK.corrected(batch.first_ms)
        timing = RetryTiming(now_ms, first_ms, expires_ms(delivery), batch.attempt, _noise())
        first_s = self.provider.first_delay_s(verdict, status, self.retry)
        decision = decide_retry(first_s, verdict, timing, self.retry)
        if decision.due_ms is None:
            self._end(delivery, decision.reason)
            return
        self._metrics.retries(self.provider.name, self._label(verdict.reason)).inc()
        self._unsaved_count.add(1, self.unsaved)
        due_ms = SHARED_CLOCK.steady_ms() + decision.due_ms - now_ms
        batch.postpone(delivery.index, verdict, Postponed(due_ms, batch.attempt + 1, ""))

    def _park(self, delivery: Delivery, verdict: Verdict) -> None:
        """Move a delivery from memory to this lane's share of the backlog in Redis. No attempt is counted."""
        now_ms = SHARED_CLOCK.now_ms()
        wait_s = max(self.stuck_s / 2, self._throttle.left_s(time.monotonic()))
        due_ms = parked_until_ms(now_ms, expires_ms(delivery), wait_s, _noise())
        if due_ms is None:
            self._end(delivery, EXPIRED)
        elif self.parked_total >= PARKED_MAX:
            self._end(delivery, LANE_FULL)
        else:
            self.parked_total += 1
            due_ms += SHARED_CLOCK.steady_ms() - now_ms
            delivery.batch.postpone(
                delivery.index, verdict, Postponed(due_ms, delivery.batch.attempt, self.name)
            )

    def _reject(self, delivery: Delivery, reason: str) -> None:
        """Record that the provider finally rejected a delivery."""
        self._unsaved_count.add(1, self.unsaved)
        self._end(delivery, reason)

    def _end(self, delivery: Delivery, reason: str) -> None:
        """Give a delivery a final verdict other than accepted."""
        self._metrics.deliveries(
            self.provider.name, delivery.route.app, "rejected", self._label(reason)
        ).inc()
        delivery.batch.reject(delivery.index, reason)
