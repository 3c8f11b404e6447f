"""The state of a lane as a value, for the report of its worker."""

from collections.abc import Iterable

from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.lane import Lane
from gateway.telemetry.worker_report import LANES_MAX, TEXT_MAX, LaneReport


def lane_report(lane: Lane) -> LaneReport:
    """The report of one lane."""
    link, breaker, throttle = lane.states
    return LaneReport(
        name=lane.name,
        provider=lane.provider.name,
        host=lane.host,
        backlog=lane.backlog,
        in_flight=lane.in_flight,
        parked=lane.parked_total,
        link=link.state.name.lower(),
        link_error=link.error[:TEXT_MAX],
        breaker=breaker.state.name.lower(),
        breaker_reason=breaker.reason[:TEXT_MAX],
        throttle=throttle.state.name.lower(),
        error=(lane.error_text or "")[:TEXT_MAX],
        connections=lane.connections if isinstance(lane, Http2Lane) else None,
    )


def lane_reports(lanes: Iterable[Lane]) -> tuple[tuple[LaneReport, ...], int]:
    """The reports of at most `LANES_MAX` lanes, and the number of lanes beyond. Lanes with an error come first."""
    ordered = sorted(lanes, key=lambda lane: (lane.error_text is None, lane.name))
    return tuple(map(lane_report, ordered[:LANES_MAX])), max(0, len(ordered) - LANES_MAX)
