"""The gauges of one lane."""

from gateway.metrics import Metrics


class LaneGauges:
    """Exports the state of a lane once a second.

    Args:
        metrics: the gauges of all lanes.
        name: the lane's name, which labels its gauges.
    """

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._in_flight = metrics.lane_in_flight(name)
        self._unsaved = metrics.lane_unsaved(name)
        self._down = metrics.lane_down(name)
        self._breaker_open = metrics.lane_breaker_open(name)
        self._throttled = metrics.lane_throttled(name)

    def set(
        self, *, in_flight: int, unsaved: int, is_down: bool, is_halted: bool, is_throttled: bool
    ) -> None:
        """Set all gauges.

        Args:
            in_flight: number of requests without a response.
            unsaved: number of deliveries whose verdict is not recorded.
            is_down: whether the lane can get no connection or no access token.
            is_halted: whether the provider refused the credential.
            is_throttled: whether the lane pauses or ramps up after a rate limit.
        """
        self._in_flight.set(in_flight)
        self._unsaved.set(unsaved)
        self._down.set(int(is_down))
        self._breaker_open.set(int(is_halted))
        self._throttled.set(int(is_throttled))

    def clear(self) -> None:
        """Set all gauges to 0."""
        self.set(in_flight=0, unsaved=0, is_down=False, is_halted=False, is_throttled=False)
