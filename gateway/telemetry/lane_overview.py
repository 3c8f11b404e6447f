"""The lanes of all workers together, from their reports. No I/O, no clock."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from gateway.telemetry.worker_report import LaneReport, WorkerReport

_LINKS: Final = ("untried", "up", "down")
_BREAKERS: Final = ("closed", "half_open", "open")
_THROTTLES: Final = ("free", "ramping", "paused")


class WorkerLane(msgspec.Struct, frozen=True):
    """A lane in one worker.

    Attributes:
        gateway: id of the gateway.
        slot: number of the worker in its gateway.
        lane: the report of the worker about it.
    """

    gateway: str
    slot: int
    lane: LaneReport


class LaneOverview(msgspec.Struct, frozen=True):
    """A lane over all workers of all gateways.

    Attributes:
        name, provider, host: see `LaneReport`.
        backlog, in_flight, connections: sums over the workers.
        parked: deliveries that all gateways have parked in Redis.
        link, breaker, throttle: the worst state of any worker.
        reason: the reason, from the provider or the connection, why a worker cannot send; "": there is none.
        workers: the lane in each worker.
    """

    name: str
    provider: str
    host: str
    backlog: int
    in_flight: int
    parked: int
    connections: int
    link: str
    breaker: str
    throttle: str
    reason: str
    workers: tuple[WorkerLane, ...]


def lane_overviews(reports: Iterable[WorkerReport]) -> list[LaneOverview]:
    """Every lane of these reports, in the order of the names."""
    found: dict[str, list[WorkerLane]] = {}
    for report in reports:
        for lane in report.lanes:
            found.setdefault(lane.name, []).append(WorkerLane(report.gateway, report.slot, lane))
    return [_overview(workers) for _, workers in sorted(found.items())]


def _overview(workers: Sequence[WorkerLane]) -> LaneOverview:
    lanes = [one.lane for one in workers]
    first = lanes[0]
    return LaneOverview(
        name=first.name,
        provider=first.provider,
        host=first.host,
        backlog=sum(lane.backlog for lane in lanes),
        in_flight=sum(lane.in_flight for lane in lanes),
        parked=max(lane.parked for lane in lanes),
        connections=sum(lane.connections or 0 for lane in lanes),
        link=_worst(_LINKS, (lane.link for lane in lanes)),
        breaker=_worst(_BREAKERS, (lane.breaker for lane in lanes)),
        throttle=_worst(_THROTTLES, (lane.throttle for lane in lanes)),
        reason=next(filter(None, map(_reason, lanes)), ""),
        workers=tuple(workers),
    )


def _worst(order: Sequence[str], states: Iterable[str]) -> str:
    """The last state by `order`; a state of another version comes after all others."""
    return max(states, key=lambda state: order.index(state) if state in order else len(order))


def _reason(lane: LaneReport) -> str:
    if lane.breaker != "closed":
        return lane.breaker_reason
    return lane.error or lane.link_error
