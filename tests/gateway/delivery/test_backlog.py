"""The deliveries that wait for a lane: their order, which of them are parked, and when those are retried."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.delivery.backlog import LAST_TRY_S, PARK_MAX_S, PARK_S, Backlog, parked_until_ms

NOW_MS = 1_000_000


def deliveries(*names: str, bulk: bool = False) -> list[Any]:
    """Stand-ins: a backlog reads nothing of a delivery but whether its batch is a broadcast's."""
    return [SimpleNamespace(name=name, batch=SimpleNamespace(bulk=bulk)) for name in names]


def names(waiting: Any) -> str:
    return " ".join(delivery.name for delivery in waiting)


@pytest.fixture
def backlog() -> Backlog:
    made = Backlog()
    made.add(deliveries("s1", "s2"), bulk=False)
    made.add(deliveries("b1", "b2", "b3", bulk=True), bulk=True)
    return made


def test_small_pings_wait_apart_from_broadcasts(backlog: Backlog) -> None:
    assert (names(backlog.small), names(backlog.bulk), len(backlog)) == ("s1 s2", "b1 b2 b3", 5)


def test_a_delivery_that_did_not_begin_is_the_next_of_its_kind(backlog: Backlog) -> None:
    for delivery in (*deliveries("s0"), *deliveries("b0", bulk=True)):
        backlog.put_back(delivery)
    assert (names(backlog.small), names(backlog.bulk)) == ("s0 s1 s2", "b0 b1 b2 b3")


@pytest.mark.parametrize(
    ("room", "parked"), [(9, ""), (5, ""), (4, "b3"), (1, "b3 b2 b1 s2"), (0, "b3 b2 b1 s2 s1")]
)
def test_the_newest_are_parked_and_broadcasts_first(backlog: Backlog, room: int, parked: str) -> None:
    assert names(backlog.excess(room)) == parked
    assert len(backlog) == min(room, 5)


def test_everything_can_be_removed(backlog: Backlog) -> None:
    small, bulk = backlog.drain()
    assert (names(small), names(bulk), len(backlog)) == ("s1 s2", "b1 b2 b3", 0)


@pytest.mark.parametrize(
    ("wait_s", "noise", "delay_s"),
    [(0, 0.0, PARK_S), (0, 1.0, 2 * PARK_S), (30, 0.0, 30), (1000, 0.0, PARK_MAX_S), (30, 0.5, 45)],
)
def test_a_parked_delivery_is_retried_later_the_longer_its_lane_waits(
    wait_s: float, noise: float, delay_s: float
) -> None:
    assert parked_until_ms(NOW_MS, 10**12, wait_s, noise) == NOW_MS + delay_s * 1000


@pytest.mark.parametrize(
    ("ttl_s", "noise", "delay_s"),
    [(20, 0.0, 20 - LAST_TRY_S), (20, 1.0, 20 - 2 * LAST_TRY_S), (LAST_TRY_S, 0.0, None), (1, 0.0, None)],
)
def test_it_is_retried_before_its_time_to_live_ends_or_not_at_all(
    ttl_s: float, noise: float, delay_s: float | None
) -> None:
    due_ms = parked_until_ms(NOW_MS, int(NOW_MS + ttl_s * 1000), 1000.0, noise)
    assert due_ms == (None if delay_s is None else NOW_MS + delay_s * 1000)
