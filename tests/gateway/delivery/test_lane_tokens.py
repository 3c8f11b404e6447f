"""Which responses about device tokens a lane reports."""

from typing import Any

from structlog.testing import capture_logs

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.dead_tokens import BURST_COUNT, IgnoredTokenReports
from gateway.delivery.lane_tokens import LaneTokens
from gateway.delivery.route import Route, TokenScope, token_scope
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.addressees import DIGEST_PREFIX
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind

DEAD = Verdict(VerdictKind.REJECTED, "Unregistered", dead=True)
SCOPE = token_scope("apns:one", "", "apns.test", "topic", "credential")
LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)


class ALane:
    """A lane that has a name alone."""

    name = "apns:one"
    provider: Any = None

    def offer(self, deliveries: Any, *, bulk: bool) -> None:
        """Take nothing."""


class Reports(IgnoredTokenReports):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.dead: list[tuple[str, TokenScope, tuple[str, ...]]] = []
        self.accepted: list[TokenScope] = []
        self.learned: list[str] = []

    def on_dead_token(
        self, delivery: Delivery, verdict: Verdict, scope: TokenScope, others: tuple[str, ...] = ()
    ) -> None:
        """Keep a dead token."""
        self.dead.append((delivery.device.client_id, scope, others))

    def on_accepted(self, scope: TokenScope) -> None:
        """Keep a scope."""
        self.accepted.append(scope)

    def on_environment_learned(self, delivery: Delivery, key: str) -> None:
        """Keep a key."""
        self.learned.append(key)


def delivery(route: Route, client_id: str = "client") -> Delivery:
    batch = DeliveryBatch(LEASE, "0" * 28, [Ping(id="0" * 32)], lambda _: None)
    batch.begin_ping({})
    message: Any = None
    index = batch.add_delivery(client_id, "apns")
    return Delivery(batch, index, Device(client_id), route, message, b"", b"")


def test_an_acceptance_and_a_dead_token_of_this_lane_are_reported() -> None:
    lane, reports = ALane(), Reports()
    tokens = LaneTokens(lane, reports)
    route = Route(lane, None, "", SCOPE)
    dead = delivery(route)
    tokens.on_accepted(route)
    tokens.on_dead(dead, DEAD, ("elsewhere",))
    tokens.on_environment_learned(dead, "key")
    assert route.accepted
    assert reports.accepted == [SCOPE]
    assert reports.dead == [("client", SCOPE, ("elsewhere",))]
    assert reports.learned == ["key"]
    assert dead.batch.dead == {0}


def test_routes_of_another_lane_prove_nothing() -> None:
    reports = Reports()
    tokens = LaneTokens(ALane(), reports)
    route = Route(ALane(), None, "", SCOPE)
    dead = delivery(route)
    tokens.on_accepted(route)
    tokens.on_dead(dead, DEAD)
    tokens.on_environment_learned(dead, "key")
    assert not route.accepted
    assert (reports.accepted, reports.dead, reports.learned) == ([], [], [])
    assert dead.batch.dead == {0}  # the receipt has the provider's verdict all the same


def test_raw_tokens_and_lanes_without_reports_mark_nothing() -> None:
    lane, reports = ALane(), Reports()
    route = Route(lane, None, "", SCOPE)
    LaneTokens(lane, reports).on_dead(delivery(route, DIGEST_PREFIX + "1"), DEAD)
    LaneTokens(lane, None).on_dead(delivery(route), DEAD)
    LaneTokens(lane, None).on_accepted(route)
    assert reports.dead == []


def test_beyond_the_limit_no_token_is_marked_and_one_event_is_logged() -> None:
    lane, reports = ALane(), Reports()
    tokens = LaneTokens(lane, reports)
    route = Route(lane, None, "", SCOPE)
    with capture_logs() as logs:
        for _ in range(BURST_COUNT + 5):
            tokens.on_dead(delivery(route), DEAD)
    assert len(reports.dead) == BURST_COUNT
    assert [one["event"] for one in logs] == ["mass_token_invalidation"]
