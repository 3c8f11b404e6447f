"""The gauges of one lane."""

from gateway.delivery.lane_gauges import LaneGauges
from gateway.metrics import Metrics


def test_each_gauge_has_its_value_and_clearing_sets_all_to_0() -> None:
    metrics = Metrics()
    families = (
        metrics.lane_in_flight,
        metrics.lane_unsaved,
        metrics.lane_down,
        metrics.lane_breaker_open,
        metrics.lane_throttled,
    )
    gauges = LaneGauges(metrics, "apns:A")
    gauges.set(in_flight=5, unsaved=4, is_down=True, is_halted=False, is_throttled=True)
    assert [family("apns:A").value for family in families] == [5, 4, 1, 0, 1]
    gauges.clear()
    assert [family("apns:A").value for family in families] == [0, 0, 0, 0, 0]
