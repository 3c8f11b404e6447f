"""The plan of a batch: one message for each app, the same request id at each try."""

import uuid
from typing import Any

from gateway.delivery.batch import DeliveryBatch
from gateway.delivery.route import Route
from gateway.fanout.batch_plan import BatchPlan
from gateway.queue.entries import Lease
from gateway.store import keys
from protocols.errors import PayloadTooLarge
from protocols.ping.model import Ping

BATCH_ID = "0123456789abcdef0123456789ab"
PINGS = (Ping(users=("a",), message="one"), Ping(users=("b",), message="two"))


class Provider:
    """Notes what it composes."""

    name = "apns"

    def __init__(self) -> None:
        self.composed: list[tuple[str | None, str]] = []

    def compose(self, ping: Ping, target: str, now_ms: int) -> Any:
        self.composed.append((ping.message, target))
        if target == "small":
            raise PayloadTooLarge("too large")
        if target == "broken":
            raise ZeroDivisionError
        return f"{ping.message} for {target} at {now_ms}"


class StubLane:
    """A lane with that provider, to which nothing is offered."""

    name = "apns"

    def __init__(self) -> None:
        self.provider: Any = Provider()

    def offer(self, deliveries: Any, *, bulk: bool) -> None:
        raise AssertionError


def plan(first_ping_index: int = 0) -> BatchPlan:
    lease = Lease(keys.PINGS, "1-0", b"", 2, 10, redelivered=False)
    batch = DeliveryBatch(lease, BATCH_ID, PINGS, lambda _: None, first_ping_index=first_ping_index)
    return BatchPlan(batch, 1_000, {})


def test_a_message_is_composed_once_for_each_ping_and_route() -> None:
    lane, made = StubLane(), plan()
    one, other = Route(lane, "one app", "one"), Route(lane, "other app", "other")
    made.begin_ping(0, {})
    for route in (one, other, one, other):
        made.select_route(route)
        assert made.message == f"one for {route.target} at 1000"
    made.begin_ping(1, {})
    made.select_route(one)
    assert made.message == "two for one app at 1000"
    assert lane.provider.composed == [("one", "one app"), ("one", "other app"), ("two", "one app")]


def test_content_that_a_provider_refuses_is_an_error_of_its_route_alone() -> None:
    lane, made = StubLane(), plan()
    small, large = Route(lane, "small", "small"), Route(lane, "large", "large")
    made.begin_ping(0, {})
    made.select_route(small)
    assert isinstance(made.message, PayloadTooLarge)
    made.select_route(large)
    assert made.message == "one for large at 1000"


def test_after_a_defect_no_device_gets_the_message_of_another_app() -> None:
    lane, made = StubLane(), plan()
    good, broken = Route(lane, "good", "good"), Route(lane, "broken", "broken")
    made.begin_ping(0, {})
    made.select_route(good)
    for _ in range(2):
        try:
            made.select_route(broken)
        except ZeroDivisionError:
            assert made.route is good
        else:
            raise AssertionError
    made.select_route(good)
    assert made.message == "one for good at 1000"


def test_a_request_id_is_a_uuid_of_ping_and_device() -> None:
    ids = []
    for first in (0, 0, 1):
        made = plan(first)
        made.begin_ping(0, {})
        ids.append((made.request_id(1), made.request_id(2)))
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 4
    for text in ids[0]:
        assert str(uuid.UUID(text.decode())) == text.decode()
    assert ids[0][0].startswith(b"01234567-89ab-cdef-0123-")
