"""The report of one worker about its lanes and counts, for operators. No I/O, no clock.

Every worker of every gateway stores its report in the queue's Redis (`gateway.queue.worker_reports`), so that any of
them can show the reports of all. All counts are totals since the start of the worker's process, as Prometheus' counters
are.
"""

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.telemetry.values import Change, Labels

LANES_MAX: Final = 200
"""Most lanes of a report: a lane exists for each credential, and for 64 endpoints of Web Push."""
TEXT_MAX: Final = 200
"""Most characters of an error or reason."""
LABELS_MAX: Final = 200
"""Most rejection reasons, and most credentials, of a report."""

OTHER_REASONS: Final = "other"
"""Counts the rejections of all reasons beyond `LABELS_MAX`."""


class LaneReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One lane of one worker.

    Attributes:
        name: the lane, the same in every worker and gateway.
        provider: the provider.
        host: the server that requests go to; "" where the gateway itself is the service.
        backlog: deliveries that wait in the worker's memory.
        in_flight: requests without a response, which are the HTTP/2 streams in use.
        parked: deliveries of this lane that all gateways have parked in Redis.
        link: `untried`, `up` or `down`.
        link_error: the reason why the link is down.
        breaker: `closed`, `open` or `half_open`.
        breaker_reason: the provider's reason for its last refusal of the credential.
        throttle: `free`, `paused` or `ramping`.
        error: the reason why the lane cannot send now; "" if it can, or if no delivery waits for it.
        connections: usable connections; None: the lane counts none.
    """

    name: str
    provider: str
    host: str = ""
    backlog: int = 0
    in_flight: int = 0
    parked: int = 0
    link: str = "untried"
    link_error: str = ""
    breaker: str = "closed"
    breaker_reason: str = ""
    throttle: str = "free"
    error: str = ""
    connections: int | None = None


class DeliverySeconds(msgspec.Struct, frozen=True, array_like=True):
    """Distribution of the seconds from the acceptance of a ping to the provider's acceptance of a delivery.

    Attributes:
        total_s: sum of the seconds.
        buckets: count of each bucket of `gateway.metrics.DELIVERY_BUCKETS_S`, the last being that of +Inf.
    """

    total_s: float = 0.0
    buckets: tuple[int, ...] = ()


class CredentialLifetime(msgspec.Struct, frozen=True, array_like=True):
    """Remaining lifetime of one credential; negative after it has expired."""

    app: str
    provider: str
    seconds: float


class WorkerCounts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Counts of one worker since its start.

    Attributes:
        accepted: pings stored in the queue, by ingress.
        refused: refused ping requests, by the error's label.
        deliveries: final verdicts of deliveries, by provider and verdict.
        rejections: rejected deliveries, by reason.
        retries: delivery attempts put on the retry schedule, by provider.
        delivery_seconds: by provider.
        waiting_devices: RhoConnect Push devices with an open poll now.
        credential_expiry: the credentials that expire first.
    """

    accepted: dict[str, int] = {}
    refused: dict[str, int] = {}
    deliveries: dict[str, dict[str, int]] = {}
    rejections: dict[str, int] = {}
    retries: dict[str, int] = {}
    delivery_seconds: dict[str, DeliverySeconds] = {}
    waiting_devices: int = 0
    credential_expiry: tuple[CredentialLifetime, ...] = ()


class WorkerReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one worker.

    Attributes:
        gateway: id of the gateway, stable across restarts.
        slot: number of the worker in its gateway.
        at_ms: epoch ms of this report, by Redis' clock.
        version: version of the gateway.
        pid: id of the process on its host.
        started_ms: epoch ms of the start of the worker.
        cpu_s: CPU seconds of the process.
        rss_bytes: resident memory of the process.
        connections: open HTTP connections of both ports.
        lanes: the worker's lanes.
        lanes_omitted: number of lanes beyond `LANES_MAX`, which are not in the report.
        counts: see `WorkerCounts`.
    """

    gateway: str
    slot: int
    at_ms: int
    version: str = ""
    pid: int = 0
    started_ms: int = 0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    connections: int = 0
    lanes: tuple[LaneReport, ...] = ()
    lanes_omitted: int = 0
    counts: WorkerCounts = WorkerCounts()

    @property
    def name(self) -> str:
        """The worker's name among the consumers of the queue."""
        return f"{self.gateway}:{self.slot}"


class CountsBuilder:
    """Sums the states of a process's metrics over the labels that a report does not have."""

    def __init__(self) -> None:
        self._by_label: dict[str, dict[str, int]] = {name: {} for name in _FIRST_LABEL}
        self._deliveries: dict[str, dict[str, int]] = {}
        self._rejections: dict[str, int] = {}
        self._seconds: dict[str, DeliverySeconds] = {}
        self._waiting_devices = 0
        self._expiry: list[CredentialLifetime] = []

    def add(self, states: Iterable[Change]) -> None:
        """Add the states of some metrics, each state once."""
        for name, labels, numbers in states:
            if name in self._by_label:
                _count(self._by_label[name], labels[0], numbers[0])
            elif name == _DELIVERIES:
                self._add_deliveries(labels, int(numbers[0]))
            elif name == _DELIVERY_SECONDS:
                self._seconds[labels[0]] = DeliverySeconds(numbers[0], tuple(map(int, numbers[1:])))
            elif name == _WAITING_DEVICES:
                self._waiting_devices = int(numbers[0])
            elif name == _CREDENTIAL_EXPIRY and numbers[0] < math.inf:
                self._expiry.append(CredentialLifetime(labels[0], labels[1], numbers[0]))

    def _add_deliveries(self, labels: Labels, count: int) -> None:
        provider, _, verdict, reason = labels
        _count(self._deliveries.setdefault(provider, {}), verdict, count)
        if reason:
            known = reason in self._rejections or len(self._rejections) < LABELS_MAX
            _count(self._rejections, reason if known else OTHER_REASONS, count)

    def counts(self) -> WorkerCounts:
        """The counts of everything that was added."""
        accepted, refused, retries = (self._by_label[name] for name in _FIRST_LABEL)
        expiry = sorted(self._expiry, key=lambda one: one.seconds)[:LABELS_MAX]
        return WorkerCounts(
            accepted,
            refused,
            self._deliveries,
            self._rejections,
            retries,
            self._seconds,
            self._waiting_devices,
            tuple(expiry),
        )


def _count(counts: dict[str, int], label: str, number: float) -> None:
    counts[label] = counts.get(label, 0) + int(number)


_FIRST_LABEL: Final = ("rhopush_pings_accepted", "rhopush_pings_refused", "rhopush_retries")
"""Metrics that a report sums by their first label."""
_DELIVERIES: Final = "rhopush_deliveries"
_DELIVERY_SECONDS: Final = "rhopush_delivery_seconds"
_WAITING_DEVICES: Final = "rhopush_rhoconnect_push_waiting_devices"
_CREDENTIAL_EXPIRY: Final = "rhopush_credential_expiry_seconds"
