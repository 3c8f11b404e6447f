"""A lane: everything that goes to one provider with one credential.

Lanes are bulkheads. Each has its own connections, its own waiting room of bounded size and its own breaker;
what a lane cannot send is parked in Redis (the lane's share of the backlog there), and other lanes do not
feel it. Small pings overtake broadcasts. A connection takes what it has room for (`take`), and hands back
what became of it (`on_outcomes`); no task, future or timer stands behind a single send.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import OPEN, Delivery
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane import BUSY, GRACE_S, Lane
from gateway.delivery.provider import Credential, Provider
from gateway.delivery.rate_limiter import RateLimiter
from gateway.delivery.retry import EXPIRED
from gateway.delivery.route import LaneInterface
from gateway.metrics import Metrics
from gateway.scheduling.scheduler import SLICE, Scheduler
from gateway.settings import RetrySettings
from gateway.transport.feed import BATCH, Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from protocols.devices import ELSEWHERE
from protocols.http2.client import Header, OutcomeKind, RequestOutcome, never_indexed
from protocols.provider_response import answered_s
from protocols.verdict import Remedy, Verdict, VerdictKind

_ANSWERED: Final = OutcomeKind.ANSWERED  # an enum's member costs three look-ups
_NEW_TOKEN: Final = frozenset({Remedy.REFRESH, Remedy.REISSUE})
_log = structlog.get_logger("lane")

UNAUTHORIZED: Final = "no_provider_token"
BREAKER_OPEN_S: Final = 30.0
"""How long the breaker stays open before one send may try whether the credential works again."""
RECONNECT_S: Final = 10.0
"""At most so long between two tries to reach a provider that is down: seldom enough for Apple, which takes rapid
reconnecting for an attack (providers A1), and soon enough for those who wait."""
WAITING_ROOM_S: Final = 3.0
WAITING_ROOM_MIN: Final = 200
"""What a lane may keep waiting in memory: some seconds of what it sends, and a few in any case."""
PATIENCE_SWEEPS: Final = 3
"""So many seconds in a row something must have waited before more than that is parked."""
UNTRIED_MAX: Final = 8
"""A send that so many connections refused unprocessed is scheduled like an unknown one, so that it cannot circle."""


class WaitingRoomSize:
    """Decides how much a lane may keep waiting in memory: what it sends in `WAITING_ROOM_S`. No I/O.

    A lane that is slow for long (a small quota, a stream limit of one) must not fill the worker with its sends,
    since other lanes share the worker's room; one that has just been handed a burst may keep it.
    """

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=PATIENCE_SWEEPS)
        self._busy = 0

    def soon(self, taken: int) -> int:
        """How many sends that wait will have gone in `WAITING_ROOM_S`; `taken` were handed out since the last
        `room`."""
        return int(max(taken, *self._rates, 0) * WAITING_ROOM_S)

    def room(self, taken: int, waiting: int) -> int:
        """Once a second: how many sends may go on waiting.

        Args:
            taken: sends handed out in this second.
            waiting: sends that wait now.
        """
        self._rates.append(taken)
        self._busy = self._busy + 1 if waiting else 0
        if self._busy < PATIENCE_SWEEPS:
            return waiting
        return max(WAITING_ROOM_MIN, self.soon(taken))


class EnvironmentFallback(NamedTuple):
    """Why a send came over from the provider's other environment: the place's key there, and its answer."""

    key: str
    verdict: Verdict


class LaneOptions(NamedTuple):
    """What a lane obeys: its settings, and whether small pings are under way in this worker."""

    connections_max: int
    deadline_s: float
    retry: RetrySettings
    scheduler: Scheduler


class Http2Lane(Lane):
    """One provider and credential: waiting room, connections, breaker.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: how its answers are judged.
        credential: what authorises requests.
        endpoint: where its requests go.
        policy: its settings.
        metrics: where verdicts are counted.
        tokens: takes note of device tokens that the provider called dead.
        rate_limiter: keeps it to its provider's quota; None: there is none.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        credential: Credential,
        endpoint: Endpoint,
        policy: LaneOptions,
        metrics: Metrics,
        tokens: TokenReports,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        super().__init__(name, provider, policy.retry, metrics, tokens)
        self.credential = credential
        self._rate_limiter = rate_limiter
        authority = endpoint.authority.encode()
        self._head: list[Header] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority)]
        self._wanted = False
        self._down_since: float | None = None
        self._error: str | None = None
        self._refused = ""
        self._halted_until = 0.0
        self._half_open = False
        self._stuck_since: float | None = None
        self._stuck_reason: str | None = None
        self._flow = WaitingRoomSize()
        self._taken_this_second = 0
        self._deadline_s = policy.deadline_s
        self._scheduler = policy.scheduler
        self._retired = False
        self._successor: LaneInterface | None = None
        self._fallbacks: dict[Delivery, EnvironmentFallback] = {}
        self._pool = ConnectionPool(
            endpoint,
            self,
            connections_max=policy.connections_max,
            deadline_s=policy.deadline_s,
            tuning=Tuning(backoff_most_s=RECONNECT_S),
        )

    # -- towards the fan-out ---------------------------------------------------------------------------------

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""
        if self._retired:
            self._hand_to_successor(deliveries, bulk=bulk)
            return
        self._enqueue(deliveries, bulk=bulk)
        self._wanted = True
        self._pool.wake()

    def wake(self) -> None:
        """Something that kept this lane from sending is gone (a provider token came)."""
        self._pool.wake()

    @property
    def in_flight(self) -> int:
        """Sends given to a connection and not answered."""
        return self._pool.in_flight

    @property
    def halted(self) -> bool:
        """Whether the breaker is open: the credential was refused."""
        return self._half_open or self._halted_until > time.monotonic()

    @property
    def error_text(self) -> str | None:
        """Why this lane cannot send now; None when it can, or was never asked to."""
        if self.halted:
            return self._refused
        if self._is_down:
            return self._error or "no connection"
        return self._stuck_reason if self.stuck_s > GRACE_S else None

    @property
    def _is_down(self) -> bool:
        """Whether something wants a connection that cannot be had: an idle lane may lose its own."""
        return self._wanted and self._down_since is not None

    @property
    def stuck_s(self) -> float:
        """For how many seconds this lane has been unable to send; 0: it sends."""
        return 0.0 if self._stuck_since is None else time.monotonic() - self._stuck_since

    def sweep(self) -> None:
        """Once a second: park what waits for a lane that cannot send, and wake one that may try again."""
        self._metrics.lane_in_flight(self.name).set(self._pool.in_flight)
        self._metrics.lane_breaker_open(self.name).set(int(self.halted))
        why = self._stuck_reason = self._find_stuck_reason()
        if why is None:
            self._stuck_since = None
            self._park_above(self._flow.room(self._taken_this_second, self.backlog), BUSY)
        else:
            self._stuck_since = self._stuck_since or time.monotonic()
            if self._halted_until > time.monotonic() and self.credential.corrected():
                self._halted_until = 0.0  # one send tries the new token now
            elif self._halted_until > time.monotonic() or self.stuck_s > GRACE_S:
                self._park_above(0, Verdict(VerdictKind.LATER, why))
        self._metrics.lane_down(self.name).set(int(self._is_down or self.error_text == UNAUTHORIZED))
        self._taken_this_second = 0
        if self._fallbacks:  # those that ended or left in another way than by an answer
            self._fallbacks = {
                s: why for s, why in self._fallbacks.items() if s.batch.states[s.index] == OPEN
            }
        if self._wanted:
            self._pool.wake()

    def _find_stuck_reason(self) -> str | None:
        """Why nothing can be sent at all; None: something can."""
        if self._halted_until > time.monotonic():
            return self._refused
        if self._is_down:
            return self._error or "no_connection"
        if self._wanted and self.credential.authorization() is None:  # for what is parked, too
            return UNAUTHORIZED
        return None

    def _share(self) -> int:
        return max(super()._share(), self._flow.soon(self._taken_this_second))

    async def retire(self, successor: LaneInterface | None) -> None:
        """Stop for good: give what waits to a successor, or to the schedule, and finish what is in flight.

        A send that comes back unprocessed meanwhile goes the same way.

        Args:
            successor: has taken this lane's place; None: nothing has.
        """
        self._retired, self._successor = True, successor
        for waiting, bulk in ((self._small, False), (self._bulk, True)):
            deliveries = list(waiting)
            waiting.clear()
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

    async def close(self, budget_s: float) -> None:
        """Finish what is in flight, within the budget; what waits stays in its units, which stay in Redis."""
        self._clear()
        self._wanted = False
        await self._pool.close(budget_s)
        await self.credential.close()

    # -- towards the connections (Feed) ----------------------------------------------------------------------

    def waiting(self) -> int:
        """How many requests could go out now. A lane that is down wants a connection for what is parked, too."""
        if self._halted_until > time.monotonic():
            return 0
        return self.backlog or int(self._wanted and self._down_since is not None)

    def max_batch(self) -> int:
        """A batch; while small pings are under way those that wait, or with them a slice of a broadcast."""
        if self._bulk and self._scheduler.should_yield:
            return min(BATCH, max(SLICE, len(self._small)))
        return BATCH

    def take(self, n: int) -> Sequence[tuple[list[Header], bytes, object]]:
        """Hand over at most `n` requests, small pings first."""
        if self._halted_until > time.monotonic():
            return ()
        if self._half_open:
            n = 0 if self._pool.in_flight else 1
        authorization = self.credential.authorization()
        if authorization is None:
            return ()
        if self._rate_limiter is not None:
            n = self._rate_limiter.allow(min(n, self.backlog))
        now_ms = SHARED_CLOCK.now_ms()
        requests: list[tuple[list[Header], bytes, object]] = []
        while len(requests) < n and (delivery := self._next(now_ms)) is not None:
            message = delivery.message
            headers = [*self._head, (b":path", delivery.path), *authorization, *message.headers]
            if delivery.request_id:
                headers.append(never_indexed(b"apns-id", delivery.request_id))
            requests.append((headers, message.body(delivery.device.pin, delivery.device.phone_id), delivery))
        self._taken_this_second += len(requests)
        if self._rate_limiter is not None:
            self._rate_limiter.consume(len(requests))
        return requests

    def _next(self, now_ms: int) -> Delivery | None:
        """The next send that is still worth sending, small pings first."""
        while waiting := self._small or self._bulk:
            delivery = waiting.popleft()
            if delivery.batch.lease_lost:
                continue
            if not self._is_over(delivery, now_ms):
                return delivery
            self._end(delivery, EXPIRED)
        self._wanted = False
        return None

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        """Judge what came back. Answers of 200 are the hot path."""
        accepted: list[Delivery] = []
        for outcome in outcomes:
            delivery: Delivery
            delivery, fate, status, _, _, _ = outcome
            if status == 200 and fate is _ANSWERED:
                accepted.append(delivery)
                delivery.batch.accept(delivery.index)
            elif fate is OutcomeKind.UNTRIED:
                self._untried(delivery)
            elif fate is OutcomeKind.UNKNOWN:
                reason = "deadline" if outcome.reason == "deadline" else "connection_lost"
                self._later(delivery, Verdict(VerdictKind.UNKNOWN, reason), 0)
            else:
                self._judge(delivery, outcome)
        if accepted:
            self._accept(accepted)

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        """The number of usable connections changed."""
        if connected:
            if self._down_since is not None:
                _log.info("lane_up", lane=self.name)
            self._down_since = None
            self._error = None
        elif error is not None:
            if self._down_since is None:
                self._down_since = time.monotonic()
                _log.warning("lane_down", lane=self.name, error=error)
            self._error = error

    # -- verdicts --------------------------------------------------------------------------------------------

    def _accept(self, accepted: Sequence[Delivery]) -> None:
        self._close_breaker()
        self._count_accepted(accepted)
        if self._fallbacks:
            self._learn_environment(accepted)

    def _close_breaker(self) -> None:
        """The credential was taken, unless this answers what was sent before it was refused."""
        if self._half_open and self._halted_until <= time.monotonic():
            self._half_open = False

    def _judge(self, delivery: Delivery, outcome: RequestOutcome) -> None:
        verdict = self.provider.judge(outcome.status, outcome.headers, outcome.body, SHARED_CLOCK.now_s())
        if verdict.kind == VerdictKind.ACCEPTED:
            self._accept([delivery])
            delivery.batch.accept(delivery.index)
            return
        on_environment_learned = self._fallbacks.get(delivery)
        if verdict.host_specific:
            if self._try_other_environment(delivery, verdict):
                return
            if on_environment_learned is not None and not verdict.dead:
                verdict = (
                    on_environment_learned.verdict
                )  # the credential is the other environment's: this host says nothing
        if verdict.remedy in _NEW_TOKEN and not self._refresh_credential(delivery, verdict, outcome):
            verdict = verdict._replace(remedy=Remedy.HALT)
        self._apply(verdict)
        if verdict.kind == VerdictKind.LATER:
            # A refused token is no try of the send: while the breaker is open, it is parked.
            if verdict.retry_at_once and (not delivery.reauthorized or verdict.remedy is Remedy.HALT):
                delivery.reauthorized = True
                self._requeue(delivery)
            else:
                self._later(delivery, verdict, outcome.status)
            return
        if verdict.remedy is not Remedy.HALT:
            self._close_breaker()
        if verdict.dead:
            self._report_dead(delivery, verdict, self._bad_elsewhere(delivery, on_environment_learned))
        self._end(delivery, verdict.reason)

    def _refresh_credential(self, delivery: Delivery, verdict: Verdict, outcome: RequestOutcome) -> bool:
        """Get another provider token; False: this send is not to be tried again at once."""
        if delivery.reauthorized:
            return False
        return self.credential.refresh(answered_s(outcome.headers)) or verdict.remedy is Remedy.REFRESH

    # -- two environments --------------------------------------------------------------------------------------

    def _try_other_environment(self, delivery: Delivery, verdict: Verdict) -> bool:
        """Give a send that is refused at this host alone to the lane of the other one; False: there is none for it."""
        route = delivery.route
        if route.lane is not self or route.token_scope is None or route.fallback is None:
            return False
        fallback = route.fallback.of(delivery.device)
        if fallback is None or not isinstance(fallback.lane, Http2Lane):
            return False
        if verdict.dead:
            self._close_breaker()
        delivery.route, delivery.reauthorized = fallback, False
        fallback.lane.take_over(delivery, EnvironmentFallback(route.token_scope.key, verdict))
        return True

    def take_over(self, delivery: Delivery, why: EnvironmentFallback) -> None:
        """Take a send that the lane of the other environment could not deliver. No try is counted."""
        self._fallbacks[delivery] = why
        self.offer((delivery,), bulk=delivery.batch.bulk)

    def _learn_environment(self, accepted: Sequence[Delivery]) -> None:
        """Remember of what came over that the other environment refuses it: this one has just accepted it."""
        for delivery in accepted:
            on_environment_learned = self._fallbacks.pop(delivery, None)
            if (
                on_environment_learned is not None
                and self._token_reports is not None
                and delivery.route.lane is self
            ):
                self._token_reports.on_environment_learned(delivery, on_environment_learned.key)

    @staticmethod
    def _bad_elsewhere(
        delivery: Delivery, on_environment_learned: EnvironmentFallback | None
    ) -> tuple[str, ...]:
        """The other places where this token is bad: by the answer of a moment ago, or by its mark."""
        known = tuple(key.removeprefix(ELSEWHERE) for key in delivery.device.bad_at.split())
        here = delivery.route.token_scope
        known = tuple(key for key in known if here is None or key != here.key)
        return (
            known
            if on_environment_learned is None
            or not on_environment_learned.verdict.dead
            or on_environment_learned.key in known
            else (*known, on_environment_learned.key)
        )

    def _apply(self, verdict: Verdict) -> None:
        if verdict.remedy is Remedy.RECONNECT:
            self._pool.reconnect(verdict.reason)
        elif verdict.remedy is Remedy.HALT:
            if not self.halted:
                _log.error(
                    "credential_refused",
                    lane=self.name,
                    reason=verdict.reason,
                    looks_again_in_s=BREAKER_OPEN_S,
                )
            self._halted_until = time.monotonic() + BREAKER_OPEN_S
            self._half_open = True
            self._refused = verdict.reason
            self.credential.refresh()

    def _untried(self, delivery: Delivery) -> None:
        delivery.unprocessed += 1
        if delivery.unprocessed < UNTRIED_MAX:
            self._requeue(delivery)
        else:
            self._later(delivery, Verdict(VerdictKind.LATER, "refused"), 0)

    def _requeue(self, delivery: Delivery) -> None:
        if self._retired:
            self._hand_to_successor([delivery], bulk=delivery.batch.bulk)
            return
        self._requeue_first(delivery)
        self._wanted = True
