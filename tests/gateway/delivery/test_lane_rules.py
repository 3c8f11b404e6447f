"""The rules that all kinds of lanes have in common, on a lane without a provider."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.circuit_breaker import CLOSED_BREAKER, BreakerEvent
from gateway.delivery.lane import Lane
from gateway.delivery.providers.fcm import PROVIDER
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.queue.entries import Chunk, Lease
from gateway.settings import RetrySettings
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind
from tests.support.worker_core import now_ms

LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)


class Message:
    """The part of a delivery's message with its time to live."""

    headers: Sequence[tuple[bytes, bytes]] = ()

    def __init__(self, expires_ms: int) -> None:
        self.expires_ms = expires_ms


class IdleLane(Lane):
    """A lane whose requests a test begins itself."""

    def __init__(self, name: str = "fcm:one") -> None:
        super().__init__(name, PROVIDER, RetrySettings(), Metrics())
        self.begun = 0

    def wake(self) -> None:
        """Begin nothing."""

    async def close(self, budget_s: float) -> None:
        """Nothing is open."""
        self._stop_waiting()

    @property
    def in_flight(self) -> int:
        """Requests that a test began."""
        return self.begun

    def next(self) -> Delivery | None:
        """Take the next delivery, as a lane does that begins a request."""
        return self._next(self._backlog.small, self._backlog.bulk, now_ms())


def delivery(lane: Lane, *, ttl_s: int = 60, attempt: int = 0) -> Delivery:
    """A delivery of a batch of its own that is planned for this lane."""
    ping = Ping(id="0" * 32, accepted_ms=now_ms(), ttl_s=ttl_s)
    batch = DeliveryBatch(LEASE, "0" * 28, [ping], lambda _: None, chunk=Chunk(ping, attempt=attempt))
    batch.begin_ping({})
    message: Any = Message(ping.accepted_ms + ttl_s * 1000)
    return Delivery(
        batch, batch.add_delivery("phone", "fcm"), Device("phone"), Route(lane, None, ""), message, b"", b""
    )


def reasons(one: Delivery) -> list[str]:
    """The reasons of the verdicts in a delivery's batch."""
    return [reason for _, reason in one.batch.other_verdicts.values()]


async def test_nothing_begins_while_verdicts_cannot_be_recorded() -> None:
    lane = IdleLane()
    assert (lane._may_begin(5), lane._stands_still()) == (5, False)
    lane.unsaved.stalled = True
    assert (lane._may_begin(5), lane._stands_still()) == (0, True)


async def test_nothing_begins_with_cancelled_pings_that_are_too_old() -> None:
    """After a time in which the process did not run, before any timer."""
    lane = IdleLane()
    lane.unsaved.extend(time.monotonic() + 3_600)
    assert lane._may_begin(5) == 5
    lane.unsaved.extend(time.monotonic() - 0.001)
    assert lane._may_begin(5) == 0


@pytest.mark.parametrize(("begun", "may_begin"), [(0, 1), (1, 0)])
async def test_one_request_at_a_time_tests_a_refused_credential(begun: int, may_begin: int) -> None:
    lane = IdleLane()
    lane.begun = begun
    lane._breaker = CLOSED_BREAKER.after_refusal("refused", 0.0)
    assert lane._may_begin(5) == 0
    lane._breaker = lane._breaker.after(BreakerEvent.TIME_OVER)
    assert lane._may_begin(5) == may_begin


async def test_a_delivery_whose_lease_is_lost_is_not_begun() -> None:
    lane = IdleLane()
    lost, kept = delivery(lane), delivery(lane)
    lane.offer([lost, kept], bulk=False)
    lost.batch.lose_lease()
    assert (lane.next(), lane.next()) == (kept, None)
    assert not reasons(lost)


async def test_deliveries_returned_to_a_retired_lane_go_to_its_successor() -> None:
    lane, successor = IdleLane(), IdleLane("fcm:two")
    waiting, unprocessed = delivery(lane), delivery(lane)
    lane.offer([waiting], bulk=False)
    await lane.retire(successor)
    lane._requeue(unprocessed)
    assert lane.backlog == 0
    assert [successor.next(), successor.next()] == [waiting, unprocessed]


async def test_deliveries_returned_to_a_retired_lane_without_a_successor_are_scheduled() -> None:
    lane = IdleLane()
    unprocessed = delivery(lane)
    await lane.retire(None)
    lane._requeue(unprocessed)
    assert lane.backlog == 0
    assert [postponed.parked_in for postponed in unprocessed.batch.postponed.values()] == [lane.name]
    assert reasons(unprocessed) == ["lane_busy"]


async def test_an_acceptance_proves_only_the_route_that_was_planned() -> None:
    lane, successor = IdleLane(), IdleLane("fcm:two")
    own, taken_over = delivery(successor), delivery(lane)
    successor._count_accepted([own, taken_over])
    assert (own.route.accepted, taken_over.route.accepted) == (True, False)


@pytest.mark.parametrize(("attempt", "ended"), [(0, []), (1, ["expired"])])
async def test_a_ping_without_a_time_to_live_has_one_attempt(attempt: int, ended: list[str]) -> None:
    lane = IdleLane()
    one = delivery(lane, ttl_s=0, attempt=attempt)
    lane.offer([one], bulk=False)
    assert lane.next() is (None if ended else one)
    assert reasons(one) == ended
    assert all(kind is VerdictKind.REJECTED for kind, _ in one.batch.other_verdicts.values())


async def test_a_late_acceptance_is_no_event_while_the_breaker_is_open() -> None:
    lane = IdleLane()
    lane._breaker = CLOSED_BREAKER.after_refusal("refused", 0.0)
    with capture_logs() as logs:
        lane._credential_accepted()
        assert not logs
        lane._breaker = lane._breaker.after(BreakerEvent.TIME_OVER)
        lane._credential_accepted()
        lane._credential_accepted()
    assert [line["event"] for line in logs] == ["credential_accepted"]
    assert not lane.halted
