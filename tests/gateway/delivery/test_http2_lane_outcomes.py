"""The requests and outcomes of an HTTP/2 lane, step by step and without a connection."""

import gc
import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.delivery import lane as lane_module
from gateway.delivery.batch import ACCEPTED, OPEN, Delivery, DeliveryBatch
from gateway.delivery.circuit_breaker import CLOSED_BREAKER, BreakerEvent
from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.http2_lane import UNTRIED_MAX, Http2Lane, LaneOptions
from gateway.delivery.providers.apns import PROVIDER
from gateway.delivery.providers.apns_credentials import CertificateCredential
from gateway.delivery.rate_limiter import RateLimiter
from gateway.delivery.retry import EXPIRED
from gateway.delivery.route import Route, token_scope
from gateway.delivery.throttle import RAMP_S, Throttle, ThrottleState
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import RetrySettings
from gateway.store import keys
from gateway.transport.feed import Endpoint
from protocols.devices import Device
from protocols.errors import InvalidToken, RhoPushError
from protocols.http2.outcome import OutcomeKind, RequestOutcome
from protocols.ping.model import Ping
from protocols.verdict import Verdict
from tests.support.worker_core import now_ms

LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)
BAD_TOKEN = b'{"reason":"BadDeviceToken"}'


class Message:
    """A message that lives for a minute."""

    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self) -> None:
        self.expires_ms = now_ms() + 60_000

    def body(self, pin: str, phone_id: str) -> bytes:
        """No text."""
        return b"{}"


def lane_of(host: str) -> Http2Lane:
    """A lane that is never woken, so that it opens no connection."""
    options = LaneOptions(1, 15.0, RetrySettings(), Scheduler())
    endpoint = Endpoint(host, 443, None, host)
    credential = CertificateCredential()
    return Http2Lane(
        f"apns:{host}", PROVIDER, credential, endpoint, options, Metrics(), IgnoredTokenReports()
    )


def route_of(lane: Http2Lane, fallback: Route | None = None) -> Route:
    """The route of one app over a lane."""
    return Route(lane, None, "", token_scope(lane.name, "", lane.name, "topic", "key"), fallback)


def deliveries(route: Route, count: int) -> list[Delivery]:
    """This number of deliveries of one batch."""
    ping = Ping(id="0" * 32, accepted_ms=now_ms(), ttl_s=60)
    batch = DeliveryBatch(LEASE, "0" * 28, [ping], lambda _: None)
    batch.begin_ping({})
    message: Any = Message()
    return [
        Delivery(
            batch, batch.add_delivery(f"phone{n}", "apns"), Device(f"phone{n}"), route, message, b"/", b""
        )
        for n in range(count)
    ]


def refused(delivery: Delivery, body: bytes) -> RequestOutcome:
    """The outcome of a request that the provider answered with 400."""
    return RequestOutcome(delivery, OutcomeKind.ANSWERED, status=400, body=body)


async def test_requests_that_begin_use_up_the_rate_of_the_ramp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    lane = lane_of("one")
    lane._throttle = Throttle(ThrottleState.RAMPING, 1000.0 + RAMP_S, 5.0, 1000.0)
    lane._backlog.add(deliveries(route_of(lane), 8), bulk=False)
    assert [len(lane.take(8)), len(lane.take(8))] == [5, 0]
    assert lane.backlog == 3
    lane._stop_waiting()


async def test_a_delivery_that_no_connection_processes_is_scheduled_in_the_end() -> None:
    lane = lane_of("one")
    (delivery,) = deliveries(route_of(lane), 1)
    for _ in range(UNTRIED_MAX - 1):
        lane.on_outcomes([RequestOutcome(delivery, OutcomeKind.UNTRIED)])
        assert [taken for *_, taken in lane.take(1)] == [delivery]
    assert delivery.batch.states[0] == OPEN
    lane.on_outcomes([RequestOutcome(delivery, OutcomeKind.UNTRIED)])
    assert lane.backlog == 0
    assert [later.attempt for later in delivery.batch.postponed.values()] == [1]


async def test_a_rejection_of_one_delivery_shows_that_the_credential_is_accepted() -> None:
    lane = lane_of("one")
    (delivery,) = deliveries(route_of(lane), 1)
    lane._breaker = CLOSED_BREAKER.after_refusal("refused", 0.0).after(BreakerEvent.TIME_OVER)
    lane.on_outcomes([refused(delivery, b'{"reason":"PayloadEmpty"}')])
    assert not lane.halted
    assert [reason for _, reason in delivery.batch.other_verdicts.values()] == ["PayloadEmpty"]


async def test_a_defect_at_one_outcome_costs_no_other_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = lane_of("one")
    defective, other, accepted = deliveries(route_of(lane), 3)
    judge = Http2Lane._judge

    def failing(lane: Http2Lane, delivery: Delivery, outcome: RequestOutcome) -> None:
        if delivery is defective:
            raise LookupError("a defect")
        judge(lane, delivery, outcome)

    monkeypatch.setattr(Http2Lane, "_judge", failing)
    body = b'{"reason":"PayloadEmpty"}'
    with capture_logs() as logs:
        outcomes = [refused(defective, body), refused(other, body)]
        lane.on_outcomes([*outcomes, RequestOutcome(accepted, OutcomeKind.ANSWERED, status=200)])
    reasons = {index: reason for index, (_, reason) in other.batch.other_verdicts.items()}
    assert reasons == {defective.index: RhoPushError.label, other.index: "PayloadEmpty"}
    assert accepted.batch.states[accepted.index] == ACCEPTED
    assert [line["event"] for line in logs] == ["delivery_request_failed"]


async def test_the_other_environment_may_refresh_its_provider_token_for_a_delivery() -> None:
    production, sandbox = lane_of("production"), lane_of("sandbox")
    route = route_of(production, route_of(sandbox))
    (delivery,) = deliveries(route, 1)
    delivery.reauthorized = True  # at the first environment
    production.on_outcomes([refused(delivery, BAD_TOKEN)])
    assert [taken for *_, taken in sandbox.take(1)] == [delivery]
    assert (delivery.route, delivery.reauthorized) == (route.fallback, False)
    await sandbox.close(0)


async def test_no_more_requests_begin_than_the_quota_allows() -> None:
    lane = lane_of("one")
    limiter = FewTokens(3)
    lane._rate_limiter = cast("RateLimiter", limiter)
    lane._backlog.add(deliveries(route_of(lane), 8), bulk=False)
    assert [len(lane.take(8)), len(lane.take(8))] == [3, 0]
    assert (lane.backlog, limiter.tokens) == (5, 0)


async def test_the_reason_of_a_fallback_is_kept_until_its_delivery_ends() -> None:
    production, sandbox = lane_of("production"), lane_of("sandbox")
    one, other = deliveries(route_of(production, route_of(sandbox)), 2)
    production.on_outcomes([refused(one, BAD_TOKEN), refused(other, BAD_TOKEN)])
    one.batch.reject(one.index, "expired")
    sandbox.sweep()
    assert list(sandbox._fallbacks) == [other]
    await sandbox.close(0)


class FewTokens:
    """A rate limiter with some tokens and no further ones."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def allow(self, wanted: int) -> int:
        """The number of requests that are left."""
        return min(wanted, self.tokens)

    def consume(self, requests: int) -> None:
        """Spend tokens."""
        self.tokens -= requests


class Unsendable(Message):
    """A message that cannot be made for a device."""

    def body(self, pin: str, phone_id: str) -> bytes:
        """Raise an error that depends on the token."""
        raise InvalidToken("too long") if pin else RuntimeError("a defect")


async def test_a_delivery_without_a_body_is_rejected_and_the_others_are_sent() -> None:
    lane = lane_of("one")
    waiting = first, bad, worse, last = deliveries(route_of(lane), 4)
    for delivery, device in ((bad, Device("phone1", pin="x")), (worse, Device("phone2"))):
        delivery.device, delivery.message = device, cast(Any, Unsendable())
    lane._backlog.add(waiting, bulk=False)
    assert [taken for *_, taken in lane.take(8)] == [first, last]
    reasons = [reason for _, reason in first.batch.other_verdicts.values()]
    assert reasons == [InvalidToken.label, RhoPushError.label]


async def test_an_answer_that_cannot_be_judged_is_a_temporary_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def judge(*_: object) -> Verdict:
        raise KeyError("a defect")

    lane = lane_of("one")
    monkeypatch.setattr(PROVIDER, "judge", judge)
    one, other = deliveries(route_of(lane), 2)
    lane.on_outcomes([refused(one, b""), refused(other, b"")])
    reasons = [reason for _, reason in one.batch.other_verdicts.values()]
    assert reasons == [EXPIRED, EXPIRED]  # after the delay of a retry


async def closed_lanes() -> list[weakref.ref[Http2Lane]]:
    """Two lanes that were closed with a request without a response, waiting deliveries and one that came from the
    other environment."""
    sandbox = lane_of("sandbox")
    production = lane_of("production")
    route = route_of(production, fallback=route_of(sandbox))
    fallen, begun, *waiting = deliveries(route, 6)
    production.on_outcomes([refused(fallen, BAD_TOKEN)])
    assert sandbox.backlog == 1
    production._backlog.add([begun, *waiting], bulk=False)
    assert len(production.take(1)) == 1
    production.on_outcomes([RequestOutcome(begun, OutcomeKind.UNKNOWN)])
    for lane in (sandbox, production):
        await lane.close(0.0)
    return [weakref.ref(sandbox), weakref.ref(production)]


async def test_a_closed_lane_is_released_although_the_collector_does_not_track_its_deliveries() -> None:
    lanes = await closed_lanes()
    gc.collect()
    assert [lane() for lane in lanes] == [None, None]
