"""What Prometheus may ask of the gateway. The names are part of the public interface.

Each process counts in its own memory (`gateway.telemetry`); the supervisor adds the workers up and renders the sum.
Children are bound once and counts come in batches: a worker makes thousands a second.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from gateway.telemetry.totals import Merged, Totals
from gateway.telemetry.values import Counter, Definition, Gauge, Histogram, Merge, MetricRegistry

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of the rendered text (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

DELIVERY_BUCKETS_S: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    600.0,
    3600.0,
)
"""Door to verdict: milliseconds when all is well, up to an hour when a provider asks to come back later."""

_PREFIX: Final = "rhopush_"

Kind = TypeVar("Kind", Counter, Gauge, Histogram)


class Family(Generic[Kind]):
    """A metric whose children are bound once: `family("apns")` is a look-up in a dict after the first."""

    __slots__ = ("_children", "_metric")

    def __init__(self, metric: Kind) -> None:
        self._metric: Kind = metric
        self._children: dict[tuple[str, ...], Kind] = {}

    def __call__(self, *labels: str) -> Kind:
        """The child of these label values, in the order of the label names."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class Metrics:
    """All metrics of one process, each by its name without the prefix `rhopush_`.

    Attributes:
        pings_accepted: durable pings, by door.
        pings_refused: requests that a door refused, by the error's label.
        users_unknown: users of pings that the registry does not know.
        devices_skipped: devices that a ping did not go to, by reason.
        deliveries: final verdicts, by provider, app, verdict and reason.
        retries: sends that were put on the schedule, by provider and reason.
        delivery_seconds: from the door to the verdict, by provider.
        queue_depth: pings accepted and not finished.
        queue_oldest_age_seconds: age of the oldest of them.
        lane_in_flight: sends given to a provider and not answered, by lane.
        lane_breaker_open: 1 while a lane does not send since its credential was refused, by lane.
        lane_down: 1 while a lane has sends and no connection, or no access token, can be had, by lane.
        tokens_refused: 1 while APNs has called every device token bad since credential, host or topic changed, by
            lane and topic.
        credential_expiry_seconds: time left for a certificate or key, by app and provider.
        rhoconnect_push_waiting_devices: legacy devices that wait for a message.
        change_events_received: data changes, by kind.
        change_events_ignored: data changes that push nobody, by reason.
        change_events_unmonitored_seconds: how long nobody listened for data changes.
        resque_jobs: jobs taken from Resque's queues, by what became of them.
        entries_unreadable: queue entries that could not be read or planned and were put aside, by stream.
        settings_reload_failed: 1 while the settings on disk are wrong and older ones are in force.
        store_errors: failed calls to Redis, by operation.
        log_lines_dropped: log lines that were not written, because the reader of stderr or its disk took no more.
        values: all of them, as they are reported.
    """

    def __init__(self, version: str = "") -> None:
        self.values = registry = MetricRegistry()
        self.pings_accepted = _counter_family(registry, "pings_accepted", "Pings made durable", "ingress")
        self.pings_refused = _counter_family(registry, "pings_refused", "Requests refused", "reason")
        self.users_unknown = _counter(registry, "users_unknown", "Users of pings that nobody knows")
        self.devices_skipped = _counter_family(registry, "devices_skipped", "Devices left out", "reason")
        self.deliveries = _counter_family(
            registry, "deliveries", "Final verdicts", "provider", "app", "verdict", "reason"
        )
        self.retries = _counter_family(registry, "retries", "Sends put on the schedule", "provider", "reason")
        self.delivery_seconds = _histogram_family(
            registry, "delivery_seconds", "From the door to the verdict", DELIVERY_BUCKETS_S, "provider"
        )
        # One worker measures the queue for all, so the newest value is the true one; lanes are in every
        # worker.
        self.queue_depth = _gauge(registry, "queue_depth", "Pings not finished", Merge.MOST_RECENT)
        self.queue_oldest_age_seconds = _gauge(
            registry, "queue_oldest_age_seconds", "Age of the oldest", Merge.MOST_RECENT
        )
        self.lane_in_flight = _gauge_family(
            registry, "lane_in_flight", "Sends not answered yet", Merge.SUM, "lane"
        )
        self.lane_breaker_open = _alarm_family(
            registry, "lane_breaker_open", "1 while the credential is refused", "lane"
        )
        self.lane_down = _alarm_family(
            registry, "lane_down", "1 while no connection or access token can be had", "lane"
        )
        self.tokens_refused = _alarm_family(
            registry, "tokens_refused", "1 while APNs calls every device token bad", "lane", "topic"
        )
        self.credential_expiry_seconds = _gauge_family(
            registry, "credential_expiry_seconds", "Time left for it", Merge.MIN, "app", "provider"
        )
        self.rhoconnect_push_waiting_devices = _gauge(
            registry, "rhoconnect_push_waiting_devices", "Legacy devices that wait", Merge.SUM
        )
        self.change_events_received = _counter_family(
            registry, "change_events_received", "Data changes", "kind"
        )
        self.settings_reload_failed = _gauge(
            registry, "settings_reload_failed", "1 while changed settings are wrong", Merge.MAX
        )
        self.change_events_ignored = _counter_family(
            registry, "change_events_ignored", "Changes without push", "reason"
        )
        self.change_events_unmonitored_seconds = _counter(
            registry, "change_events_unmonitored_seconds", "Nobody listened for changes"
        )
        self.resque_jobs = _counter_family(registry, "resque_jobs", "Jobs of Resque", "outcome")
        self.entries_unreadable = _counter_family(
            registry,
            "entries_unreadable",
            "Queue entries that could not be read or planned and were put aside",
            "stream",
        )
        self.store_errors = _counter_family(registry, "store_errors", "Failed calls to Redis", "operation")
        self.log_lines_dropped = _counter(
            registry, "log_lines_dropped", "Lines of the log that were lost because they could not be written"
        )
        _gauge(registry, "build_info", "Always 1", Merge.MAX, "version").labels(version).set(1)

    @property
    def registry(self) -> Any:
        """A registry of prometheus-client with this process' metrics alone."""
        return _exposition().registry(self._alone)

    def exposition(self) -> bytes:
        """The text that Prometheus reads, of this process alone. Takes milliseconds: not on the loop."""
        return render(self._alone)

    def _alone(self) -> Iterable[Merged]:
        totals = Totals(self.values.definitions)
        totals.take(0, self.values.states())
        return totals.merged()


def render(merged: Callable[[], Iterable[Merged]]) -> bytes:
    """The text that Prometheus reads. The first call imports prometheus-client."""
    text: bytes = _exposition().render(merged)
    return text


def _exposition() -> Any:
    return importlib.import_module("gateway.telemetry.exposition")


def _counter(registry: MetricRegistry, name: str, text: str, *labels: str) -> Counter:
    return _added(registry, Counter(Definition(_PREFIX + name, "counter", text, labels)))


def _counter_family(registry: MetricRegistry, name: str, text: str, *labels: str) -> Family[Counter]:
    return Family(_counter(registry, name, text, *labels))


def _gauge(registry: MetricRegistry, name: str, text: str, merge: Merge, *labels: str) -> Gauge:
    """A gauge; `merge` says what the values of several workers amount to."""
    return _added(registry, Gauge(Definition(_PREFIX + name, "gauge", text, labels, merge)))


def _gauge_family(
    registry: MetricRegistry, name: str, text: str, merge: Merge, *labels: str
) -> Family[Gauge]:
    return Family(_gauge(registry, name, text, merge, *labels))


def _alarm_family(registry: MetricRegistry, name: str, text: str, *labels: str) -> Family[Gauge]:
    """Gauges that are 1 while any worker has this trouble."""
    return _gauge_family(registry, name, text, Merge.MAX, *labels)


def _histogram_family(
    registry: MetricRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Family[Histogram]:
    definition = Definition(_PREFIX + name, "histogram", text, labels, buckets=buckets)
    return Family(_added(registry, Histogram(definition)))


def _added(registry: MetricRegistry, metric: Kind) -> Kind:
    registry.add(metric)
    return metric
