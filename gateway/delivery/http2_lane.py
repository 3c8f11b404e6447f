"""The lane to a provider over HTTP/2: APNs, FCM and providers of other packages.

A connection takes as many requests as it has free streams (`take`), and returns their outcomes (`on_outcomes`); no
task, future or timer belongs to a single delivery.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import OPEN, Delivery
from gateway.delivery.circuit_breaker import BreakerEvent, BreakerState
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkEvent, LinkState
from gateway.delivery.provider import Credential, Provider
from gateway.delivery.rate_limiter import RateLimiter
from gateway.errors import BAD_DATA
from gateway.metrics import Metrics
from gateway.scheduling.scheduler import SLICE, Scheduler
from gateway.settings import RetrySettings
from gateway.transport.feed import BATCH, Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from protocols.devices import ELSEWHERE
from protocols.http2.client import Header, OutcomeKind, RequestOutcome, never_indexed
from protocols.provider_response import answered_s
from protocols.verdict import Remedy, Verdict, VerdictKind

# Module constants, since access to an enum's member costs three look-ups.
_ANSWERED: Final = OutcomeKind.ANSWERED
_CLOSED: Final = BreakerState.CLOSED
_DOWN: Final = LinkState.DOWN
_NEW_TOKEN: Final = frozenset({Remedy.REFRESH, Remedy.REISSUE})

UNAUTHORIZED: Final = "no_provider_token"
RECONNECT_S: Final = 10.0
"""Longest time between two attempts to reach a provider that is down: long enough for Apple, which takes rapid
reconnecting for an attack (providers A1), and short enough for the deliveries that wait."""
UNTRIED_MAX: Final = 8
"""A delivery that this number of connections returned unprocessed is scheduled, as after a verdict `unknown`."""


class EnvironmentFallback(NamedTuple):
    """The refusal of a delivery at the provider's other environment, from whose lane it came: host key and verdict."""

    key: str
    verdict: Verdict


class LaneOptions(NamedTuple):
    """Settings of a lane, and the scheduler of its worker."""

    connections_max: int
    deadline_s: float
    retry: RetrySettings
    scheduler: Scheduler


class Http2Lane(Lane):
    """One provider and credential, over HTTP/2.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: judges the provider's responses.
        credential: authorizes requests.
        endpoint: server of the requests.
        options: settings of the lane.
        metrics: counts verdicts.
        tokens: receives the device tokens that the provider called dead.
        rate_limiter: limits the rate to the provider's quota; None: no quota.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        credential: Credential,
        endpoint: Endpoint,
        options: LaneOptions,
        metrics: Metrics,
        tokens: TokenReports,
        rate_limiter: RateLimiter | None = None,
    ) -> None:
        super().__init__(name, provider, options.retry, metrics, tokens, options.deadline_s)
        self.credential = credential
        self.endpoint = endpoint
        self._rate_limiter = rate_limiter
        authority = endpoint.authority.encode()
        self._head: list[Header] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority)]
        self._id_header = provider.request_id_header
        self._scheduler = options.scheduler
        self._fallbacks: dict[Delivery, EnvironmentFallback] = {}
        self._pool = ConnectionPool(
            endpoint,
            self,
            connections_max=options.connections_max,
            deadline_s=options.deadline_s,
            tuning=Tuning(backoff_most_s=RECONNECT_S),
        )

    # -- interface of the fan-out ----------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The server's name, with its port where that is not 443."""
        return self.endpoint.authority

    def wake(self) -> None:
        """See `Lane.wake`."""
        self._pool.wake()

    @property
    def connections(self) -> int:
        """Number of connections that accept requests."""
        return self._pool.connected

    @property
    def in_flight(self) -> int:
        """Deliveries given to a connection that have no response yet."""
        return self._pool.in_flight

    def sweep(self) -> None:
        """See `Lane.sweep`."""
        super().sweep()
        if self._fallbacks:  # those that ended without a response
            self._fallbacks = {
                delivery: why
                for delivery, why in self._fallbacks.items()
                if delivery.batch.states[delivery.index] == OPEN and not delivery.batch.lease_lost
            }

    def _advance(self, now_s: float) -> None:
        super()._advance(now_s)
        if self._breaker.state is BreakerState.OPEN and self.credential.corrected():
            # One delivery tests the new token now.
            self._breaker = self._breaker.after(BreakerEvent.CORRECTED)

    def _find_blockage(self) -> str | None:
        blockage = super()._find_blockage()
        if blockage is None and self._wanted and self.credential.authorization() is None:
            return UNAUTHORIZED  # parked deliveries wait for the token, too
        return blockage

    async def close(self, budget_s: float) -> None:
        """Finish the requests in flight, within the budget; waiting deliveries stay in their batches, which stay
        in Redis."""
        self._stop_waiting()
        await self._pool.close(budget_s)
        self._fallbacks.clear()  # the collector does not track deliveries, which refer to this lane
        await self.credential.close()

    # -- interface of the connections (RequestFeed) ----------------------------------------------------------

    def waiting(self) -> int:
        """Number of requests that could be sent now. A lane that is down needs a connection for parked deliveries,
        too."""
        if self._stands_still():
            return 0
        backlog = self._backlog
        return len(backlog.small) + len(backlog.bulk) or int(self._wanted and self._link.state is _DOWN)

    def max_batch(self) -> int:
        """Most requests of one call of `take`: a batch. While small pings are being delivered, broadcasts only fill it
        up to a slice."""
        if self._backlog.bulk and self._scheduler.should_yield:
            return min(BATCH, max(SLICE, len(self._backlog.small)))
        return BATCH

    def take(self, n: int) -> Sequence[tuple[list[Header], bytes, object]]:
        """Return at most `n` requests, small pings first."""
        n = self._may_begin(n)
        authorization = self.credential.authorization() if n else None
        if authorization is None:
            return ()
        small, bulk = self._backlog.small, self._backlog.bulk
        if self._rate_limiter is not None:
            waiting = len(small) + len(bulk)
            if not waiting:
                self._wanted = False
            n = self._rate_limiter.allow(min(n, waiting))
        now_ms = SHARED_CLOCK.now_ms()
        requests: list[tuple[list[Header], bytes, Delivery]] = []
        while len(requests) < n and (delivery := self._next(small, bulk, now_ms)) is not None:
            message = delivery.message
            try:
                body = message.body(delivery.device.pin, delivery.device.phone_id)
            except BAD_DATA as error:  # the other deliveries must not be lost with it
                self._fail(delivery, error)
                continue
            headers = [*self._head, (b":path", delivery.path), *authorization, *message.headers]
            if delivery.request_id:
                headers.append(never_indexed(self._id_header, delivery.request_id))
            requests.append((headers, body, delivery))
        self._count_begun(len(requests))
        if requests:
            self._times.begun(requests[0][2], len(requests), now_ms)
        if self._rate_limiter is not None:
            self._rate_limiter.consume(len(requests))
        return requests

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        """Judge the outcomes of requests. Responses of 200 are the hot path."""
        accepted: list[Delivery] = []
        for outcome in outcomes:
            delivery: Delivery
            delivery, kind, status, _, _, _ = outcome
            if status == 200 and kind is _ANSWERED:
                accepted.append(delivery)
                delivery.batch.accept(delivery.index)
                continue
            try:
                self._on_other_outcome(delivery, outcome)
            except BAD_DATA as error:  # the other deliveries must not be lost with it
                self._fail(delivery, error)
        if accepted:
            self._times.accepted(accepted)
            self._accept(accepted)

    def _on_other_outcome(self, delivery: Delivery, outcome: RequestOutcome) -> None:
        """Handle an outcome that is not a response of 200."""
        if outcome.kind is OutcomeKind.UNTRIED:
            self._untried(delivery)
        elif outcome.kind is OutcomeKind.UNKNOWN:
            self._times.answered(delivery, 0)
            reason = "deadline" if outcome.reason == "deadline" else "connection_lost"
            self._later(delivery, Verdict(VerdictKind.UNKNOWN, reason), 0)
        else:
            self._times.answered(delivery, outcome.status)
            self._judge(delivery, outcome)

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        """Update the number of usable connections."""
        if connected:
            self._on_link(LinkEvent.CONNECTED)
        elif error is not None:
            self._on_link(LinkEvent.FAILED, error)

    # -- verdicts --------------------------------------------------------------------------------------------

    def _accept(self, accepted: Sequence[Delivery]) -> None:
        if self._breaker.state is not _CLOSED:
            self._credential_accepted()
        self._count_accepted(accepted)
        if self._fallbacks:
            self._learn_environment(accepted)

    def _judge(self, delivery: Delivery, outcome: RequestOutcome) -> None:
        verdict = self._judged(outcome.status, outcome.headers, outcome.body)
        if verdict.kind == VerdictKind.ACCEPTED:
            self._accept([delivery])
            delivery.batch.accept(delivery.index)
            return
        fallback = self._fallbacks.get(delivery)
        if verdict.host_specific:
            if self._try_other_environment(delivery, verdict):
                return
            if fallback is not None and not verdict.dead:
                verdict = fallback.verdict  # the credential is the other environment's
        if verdict.remedy in _NEW_TOKEN and not self._refresh_credential(delivery, verdict, outcome):
            verdict = verdict._replace(remedy=Remedy.HALT)
        self._apply(verdict)
        if verdict.kind == VerdictKind.LATER:
            # A refused provider token is not an attempt of the delivery: while the breaker is open, the delivery
            # is parked.
            if verdict.retry_at_once and (not delivery.reauthorized or verdict.remedy is Remedy.HALT):
                delivery.reauthorized = True
                self._requeue(delivery)
            else:
                self._later(delivery, verdict, outcome.status)
            return
        if verdict.remedy is not Remedy.HALT:
            self._credential_accepted()
        if verdict.dead:
            self._tokens.on_dead(delivery, verdict, self._bad_elsewhere(delivery, fallback))
        self._reject(delivery, verdict.reason)

    def _refresh_credential(self, delivery: Delivery, verdict: Verdict, outcome: RequestOutcome) -> bool:
        """Get another provider token; False: this delivery must not be tried again at once."""
        if delivery.reauthorized:
            return False
        return self.credential.refresh(answered_s(outcome.headers)) or verdict.remedy is Remedy.REFRESH

    # -- two environments ------------------------------------------------------------------------------------

    def _try_other_environment(self, delivery: Delivery, verdict: Verdict) -> bool:
        """Give a delivery that this host alone refuses to the lane of the other environment; False if there is no
        such lane, or the delivery came from it."""
        route = delivery.route
        if route.lane is not self or route.token_scope is None or delivery in self._fallbacks:
            return False
        fallback = route.other(delivery.device)
        if fallback is None or not isinstance(fallback.lane, Http2Lane):
            return False
        if verdict.dead:
            self._credential_accepted()
        delivery.route, delivery.reauthorized = fallback, False
        fallback.lane.take_over(delivery, EnvironmentFallback(route.token_scope.key, verdict))
        return True

    def take_over(self, delivery: Delivery, why: EnvironmentFallback) -> None:
        """Accept a delivery that the lane of the other environment could not deliver. No attempt is counted."""
        self._fallbacks[delivery] = why
        self.offer((delivery,), bulk=delivery.batch.bulk)

    def _learn_environment(self, accepted: Sequence[Delivery]) -> None:
        """Record that the other environment refuses these device tokens, since this one has accepted them."""
        for delivery in accepted:
            fallback = self._fallbacks.pop(delivery, None)
            if fallback is not None:
                self._tokens.on_environment_learned(delivery, fallback.key)

    @staticmethod
    def _bad_elsewhere(delivery: Delivery, fallback: EnvironmentFallback | None) -> tuple[str, ...]:
        """The other host keys at which this token is bad, from the latest response or from its mark."""
        known = tuple(key.removeprefix(ELSEWHERE) for key in delivery.device.bad_at.split())
        here = delivery.route.token_scope
        known = tuple(key for key in known if here is None or key != here.key)
        if fallback is None or not fallback.verdict.dead or fallback.key in known:
            return known
        return (*known, fallback.key)

    def _apply(self, verdict: Verdict) -> None:
        super()._apply(verdict)
        if verdict.remedy is Remedy.RECONNECT:
            self._pool.reconnect(verdict.reason)
        elif verdict.remedy is Remedy.HALT:
            self.credential.refresh()

    def _untried(self, delivery: Delivery) -> None:
        self._times.unprocessed(delivery)
        delivery.unprocessed += 1
        if delivery.unprocessed < UNTRIED_MAX:
            self._requeue(delivery)
        else:
            self._later(delivery, Verdict(VerdictKind.LATER, "refused"), 0)
