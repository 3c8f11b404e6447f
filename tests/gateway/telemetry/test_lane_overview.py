"""Lanes over several workers: sums, and the worst state of any."""

from gateway.telemetry.lane_overview import lane_overviews
from gateway.telemetry.worker_report import LaneReport, WorkerReport


def test_a_lane_has_the_sums_and_the_worst_states_of_its_workers() -> None:
    fine = LaneReport("apns:A", "apns", "host", 1, 2, 5, "up", connections=1)
    bad = LaneReport(
        "apns:A", "apns", "host", 10, 0, 5, "up", breaker="open", breaker_reason="Revoked", throttle="ramping"
    )
    other = LaneReport("fcm:B", "fcm", link="down", link_error="refused", error="refused")
    first, second = lane_overviews(
        [WorkerReport("one", 0, 1, lanes=(fine,)), WorkerReport("two", 1, 1, lanes=(other, bad))]
    )
    assert (first.name, first.provider, first.host) == ("apns:A", "apns", "host")
    assert (first.backlog, first.in_flight, first.parked, first.connections) == (11, 2, 5, 1)
    assert (first.link, first.breaker, first.throttle, first.reason) == ("up", "open", "ramping", "Revoked")
    assert [(one.gateway, one.slot) for one in first.workers] == [("one", 0), ("two", 1)]
    assert (second.link, second.breaker, second.reason) == ("down", "closed", "refused")
    assert lane_overviews([]) == []


def test_a_state_of_another_version_comes_after_all_others() -> None:
    lanes = [LaneReport("a", "apns", link=link) for link in ("down", "frozen", "up")]
    (found,) = lane_overviews([WorkerReport("one", n, 1, lanes=(lane,)) for n, lane in enumerate(lanes)])
    assert found.link == "frozen"
