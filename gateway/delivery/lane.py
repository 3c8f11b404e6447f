"""What every lane has, whatever it sends over: a name, a provider, a waiting room, and how sends leave it without an
answer.

A lane hands each send's fate to its unit: accepted, ended with a reason, on the schedule, or parked in the
lane's share of the backlog in Redis.
"""

import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery, Postponed
from gateway.delivery.dead_tokens import BURST_WINDOW_S, InvalidationLimiter, TokenReports
from gateway.delivery.provider import Provider
from gateway.delivery.reasons import reason_label
from gateway.delivery.retry import EXPIRED, LANE_FULL, RetryTiming, decide_retry
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.settings import RetrySettings
from protocols.verdict import Verdict, VerdictKind

WAITING_DELIVERIES: Final = 8_000
"""Sends that may wait in memory for a lane, about 1 KB each, once other lanes need the worker's room."""
PARKED_MAX: Final = 1_000_000
"""Sends that a lane may have parked in Redis; beyond it they end as `lane_full`."""
SINGLE_TRY_MS: Final = 10_000
"""How long the one try of a ping with a time to live of 0 may take to begin (providers A2: apns-expiration 0)."""
GRACE_S: Final = 1.0
"""How long sends wait in memory for a lost connection to come back before they are parked."""
PARK_S: Final = 4.0
PARK_MAX_S: Final = 60.0
"""When parked sends are tried again: soon at first, and later the longer their lane has been unable to send, so
that a large backlog does not go round and round. A random part is added, so that they do not come all at once."""
LAST_TRY_S: Final = 2.0
"""At the latest they are tried so long before their time to live ends, or twice that: their lane may be up again."""
_REASON_LOG_S: Final = 60.0
_log = structlog.get_logger("lane")
BUSY: Final = Verdict(VerdictKind.LATER, "lane_busy")
_ROUTE: Final = attrgetter("route")
_noise = random.SystemRandom().random


class Lane(ABC):
    """One way to one provider.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: how pings are told and answers judged.
        retry: when sends come again.
        metrics: where verdicts are counted.
        tokens: takes the provider's answers about device tokens; None: nothing is marked.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        retry: RetrySettings,
        metrics: Metrics,
        tokens: TokenReports | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.parked_total = 0
        """Sends of this lane parked in Redis by all gateways, as last heard."""
        self.retry = retry
        """When sends come again; changed settings swap it."""
        self._metrics = metrics
        self._token_reports = tokens
        self._small: deque[Delivery] = deque()
        self._bulk: deque[Delivery] = deque()
        self._invalidation_limiter = InvalidationLimiter()
        self._invalidation_limited = False
        self._reason_logged_s = float("-inf")

    @abstractmethod
    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""

    @abstractmethod
    def wake(self) -> None:
        """Something that kept this lane from sending is gone."""

    @abstractmethod
    def sweep(self) -> None:
        """Once a second: park what waits for a lane that cannot send, and wake one that may try again."""

    @abstractmethod
    async def close(self, budget_s: float) -> None:
        """Finish what is in flight, within the budget; what waits stays in its units, which stay in Redis."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Sends given away and not answered."""

    @property
    def backlog(self) -> int:
        """Sends waiting in memory."""
        return len(self._small) + len(self._bulk)

    @property
    @abstractmethod
    def error_text(self) -> str | None:
        """Why this lane cannot send now; None when it can, or was never asked to."""

    @property
    def stuck_s(self) -> float:
        """For how many seconds this lane has been unable to send; 0: it sends."""
        return 0.0

    @property
    def halted(self) -> bool:
        """Whether the breaker is open: the credential was refused."""
        return False

    def shed_backlog(self) -> None:
        """Other lanes need the worker's room: park what this one has no share for."""
        self._park_above(self._share(), BUSY)

    def _share(self) -> int:
        """How many sends may wait here while other lanes need room."""
        return WAITING_DELIVERIES

    # -- the waiting room ------------------------------------------------------------------------------------

    def _enqueue(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Let sends wait. How many a worker takes in hand is bounded (`fanout.consumer`), so this is."""
        (self._bulk if bulk else self._small).extend(deliveries)

    def _requeue_first(self, delivery: Delivery) -> None:
        """It waits again, before the others."""
        (self._bulk if delivery.batch.bulk else self._small).appendleft(delivery)

    def _park_above(self, room: int, verdict: Verdict) -> None:
        """Park the newest of what waits, broadcasts first, until only `room` sends are left in memory."""
        for waiting in (self._bulk, self._small):
            while waiting and self.backlog > room:
                self._park(waiting.pop(), verdict)

    def _clear(self) -> None:
        """Nothing waits any more; it stays in its units, which stay in Redis."""
        self._small.clear()
        self._bulk.clear()

    # -- fates -----------------------------------------------------------------------------------------------

    def _count_accepted(self, deliveries: Sequence[Delivery]) -> None:
        """Count accepted sends by app, and how long each took from the door."""
        seconds = SHARED_CLOCK.seconds_since([delivery.batch.since_ms for delivery in deliveries])
        accepted = Counter(map(_ROUTE, deliveries))
        self._invalidation_limiter.record_valid(len(seconds), time.monotonic())
        for route, count in accepted.items():
            self._metrics.deliveries(self.provider.name, route.app, "accepted", "").inc(count)
            if not route.accepted:
                self._report_accepted(route)
        self._metrics.delivery_seconds(self.provider.name).observe_many(seconds)

    def _report_accepted(self, route: Route) -> None:
        """A send was accepted: answers about device tokens are believed from now on."""
        # What a successor took over was planned for another host.
        if route.lane is self:
            route.accepted = True
            if route.token_scope is not None and self._token_reports is not None:
                self._token_reports.on_accepted(route.token_scope)

    def _report_dead(self, delivery: Delivery, verdict: Verdict, others: tuple[str, ...] = ()) -> None:
        """The provider called this send's token dead, also at the places `others`."""
        route = delivery.route
        if (
            route.lane is self
            and route.token_scope is not None
            and self._token_reports is not None
            and self._may_mark_dead(verdict)
        ):
            self._token_reports.on_dead_token(delivery, verdict, route.token_scope, others)

    def _may_mark_dead(self, verdict: Verdict) -> bool:
        """Whether a token that was called dead is to be marked."""
        allowed = self._invalidation_limiter.allow_invalid(time.monotonic())
        if not allowed and not self._invalidation_limited:
            _log.error(
                "mass_token_invalidation", lane=self.name, reason=verdict.reason, within_s=BURST_WINDOW_S
            )
        self._invalidation_limited = not allowed
        return allowed

    def _later(self, delivery: Delivery, verdict: Verdict, status: int) -> None:
        """Put a send on the schedule, or end it where its time is over."""
        batch = delivery.batch
        now_ms = SHARED_CLOCK.now_ms()
        first_ms = SHARED_CLOCK.corrected(batch.first_ms)
        timing = RetryTiming(now_ms, first_ms, _expires_ms(delivery), batch.attempt, _noise())
        first_s = self.provider.first_delay_s(verdict, status, self.retry)
        decision = decide_retry(first_s, verdict, timing, self.retry)
        if decision.due_ms is None:
            self._end(delivery, decision.reason)
            return
        self._metrics.retries(self.provider.name, self._label(verdict.reason)).inc()
        due_ms = SHARED_CLOCK.steady_ms() + decision.due_ms - now_ms
        batch.postpone(delivery.index, verdict, Postponed(due_ms, batch.attempt + 1, ""))

    def _is_over(self, delivery: Delivery, now_ms: int) -> bool:
        """Whether a send's time to live has ended. A ping without any has one try: a moment passes until here."""
        if delivery.message.expires_ms > now_ms or _expires_ms(delivery) > now_ms:
            return False
        batch = delivery.batch
        ping = batch.pings[batch.ping_of(delivery.index)]
        accepted_ms = SHARED_CLOCK.corrected(ping.accepted_ms)
        return ping.ttl_s != 0 or batch.attempt > 0 or now_ms >= accepted_ms + SINGLE_TRY_MS

    def _park(self, delivery: Delivery, verdict: Verdict) -> None:
        """Leave memory for this lane's share of the backlog in Redis. No try is counted."""
        now_ms = SHARED_CLOCK.now_ms()
        delay_s, noise = min(PARK_MAX_S, max(PARK_S, self.stuck_s / 2)), _noise()
        due_ms = now_ms + int(delay_s * 1000 * (1 + noise))
        due_ms = min(due_ms, _expires_ms(delivery) - int(LAST_TRY_S * 1000 * (1 + noise)))
        if due_ms <= now_ms:
            self._end(delivery, EXPIRED)
        elif self.parked_total >= PARKED_MAX:
            self._end(delivery, LANE_FULL)
        else:
            self.parked_total += 1
            due_ms += SHARED_CLOCK.steady_ms() - now_ms
            delivery.batch.postpone(
                delivery.index, verdict, Postponed(due_ms, delivery.batch.attempt, self.name)
            )

    def _end(self, delivery: Delivery, reason: str) -> None:
        """Give a send its final verdict."""
        self._metrics.deliveries(
            self.provider.name, delivery.route.app, "rejected", self._label(reason)
        ).inc()
        delivery.batch.reject(delivery.index, reason)

    def _label(self, reason: str) -> str:
        """The metric label of a reason; one that no table holds is logged in full, once a minute at most."""
        label = reason_label(reason, self.provider.reasons)
        if label != reason:
            now_s = time.monotonic()
            if now_s - self._reason_logged_s >= _REASON_LOG_S:
                self._reason_logged_s = now_s
                _log.warning("unknown_provider_reason", lane=self.name, reason=reason, label=label)
        return label


def _expires_ms(delivery: Delivery) -> int:
    """When a send is of no more use. If Redis' clock was set since the ping was accepted, that moves with it."""
    accepted_ms = delivery.batch.pings[delivery.batch.ping_of(delivery.index)].accepted_ms
    return delivery.message.expires_ms + SHARED_CLOCK.corrected(accepted_ms) - accepted_ms
