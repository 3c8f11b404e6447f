"""The metrics that the gateway exports to Prometheus. Their names are part of the public interface.

Each process counts in its own memory (`gateway.telemetry`); the supervisor merges the values of the workers and renders
them. Children are bound once and counts are added in batches, because a worker counts thousands of events a second.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from gateway.telemetry.totals import Merged, Totals
from gateway.telemetry.values import Counter, Definition, Gauge, Histogram, Merge, MetricRegistry

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type of the rendered text (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

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
"""Time from acceptance to verdict: normally milliseconds, up to an hour if a provider asks for a later retry."""

STAGE_BUCKETS_S: Final = (
    0.0005,
    0.001,
    0.0025,
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
    120.0,
)
"""Time in one stage of a ping's path: parts of a millisecond to seconds, minutes behind a backlog."""

PAUSE_BUCKETS_S: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    1.0,
    5.0,
)
"""Time for which the event loop stands still, and round trips to Redis."""

SYNC_BUCKETS_S: Final = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
"""Time from a ping to the sync of a device: whole seconds, up to the end of the wait (`gateway.delivery.awaited`)."""

APPEND: Final = "append"
FANOUT: Final = "fanout"
REQUEST: Final = "request"
RESPONSE: Final = "response"
SETTLEMENT: Final = "settlement"
"""The stages of `Metrics.stage_seconds`, in the order of a ping's path."""

_PREFIX: Final = "rhopush_"

Kind = TypeVar("Kind", Counter, Gauge, Histogram)


class Family(Generic[Kind]):
    """A metric whose children are bound once: after the first call, `family("apns")` is a dict lookup."""

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
    """All metrics of one process. Each attribute has the metric's name without the prefix `rhopush_`.

    Attributes:
        pings_accepted: accepted pings by ingress, and repeats with the same idempotency key.
        pings_refused: refused ping requests and change-event windows, by the error's label.
        users_unknown: users named in pings that the registry does not contain.
        devices_skipped: devices of a ping's users that get no delivery, by reason.
        deliveries: final verdicts of deliveries, by provider, app, verdict and reason.
        retries: delivery attempts put on the retry schedule, by provider and reason.
        delivery_seconds: seconds from the acceptance of a ping to the provider's acceptance of a delivery, by provider.
        stage_seconds: seconds that pings and deliveries spend in one stage of their path, by stage and provider.
        provider_responses: responses of providers, by provider and HTTP status.
        redis_seconds: seconds from a command to Redis to its reply, by purpose of the connection.
        event_loop_lag_seconds: seconds by which a worker's event loop runs a timer late.
        gc_pause_seconds: seconds for which the cycle collector stops a worker, by generation.
        sync_after_ping_seconds: seconds from the acceptance of a ping with sources to the sync of a device, by
            provider and app.
        sync_awaited: accepted deliveries of pings with sources, by provider and app.
        sync_dropped: awaited syncs that were given up early to bound memory.
        acknowledgements: devices that acknowledged a ping, by provider.
        queue_depth: pings in the queue, without those that wait for a retry alone, and the last chunks of a broadcast.
        queue_oldest_age_seconds: age of the oldest ping in the queue, in seconds.
        scheduled_pings: pings that wait for their `deliver_at`.
        scheduled_bytes: size of those pings.
        lane_in_flight: deliveries sent to a provider and not answered, by lane.
        lane_unsaved: deliveries whose verdict is not recorded in Redis, by lane.
        lane_throttled: 1 while a lane pauses or raises its rate slowly after the provider's 429, by lane.
        lane_breaker_open: 1 while a lane sends nothing because the provider refused its credential, by lane.
        lanes_stalled: 1 while the lanes of a worker begin no request because Redis does not answer, by reason.
        lane_down: 1 while a lane has deliveries and can get no connection or no access token, by lane.
        tokens_refused: 1 while APNs has rejected every device token since the credential, host or topic changed, by
            lane and topic.
        credential_expiry_seconds: seconds until an APNs certificate expires, by app and provider.
        rhoconnect_push_waiting_devices: RhoConnect Push devices with an open poll.
        change_events_received: received data changes, by kind of input.
        change_events_ignored: data changes that cause no push, by reason.
        change_events_unmonitored_seconds: seconds without a subscription to data changes.
        resque_jobs: jobs taken from Resque's queues, by outcome.
        queue_losses: times that Redis had lost the queue, for example at a restart without persistence.
        durability_missing: 1 while Redis does not provide the durability of `queue.durability`.
        entries_unreadable: quarantined queue entries that could not be read or planned, by stream.
        webhook_deliveries: attempts to deliver a message to a webhook endpoint, by endpoint and result.
        webhook_oldest_age_seconds: age of the oldest event that an endpoint has not accepted, by endpoint.
        webhook_disabled: 1 while an endpoint is disabled because it answered 410, by endpoint.
        webhook_records_lost: records of the outbox that were removed before an endpoint accepted their events.
        settings_reload_failed: 1 while the settings file is invalid and the previous settings are in force.
        store_errors: failed Redis calls of background work, by operation.
        log_lines_dropped: log lines that were not written because the reader of stderr or the disk accepted no more.
        values: all metrics, in the form that a worker reports.
    """

    def __init__(self, version: str = "") -> None:
        self.values = MetricRegistry()
        self._define_pings(self.values)
        self._define_deliveries(self.values)
        self._define_lanes(self.values)
        self._define_latencies(self.values)
        self._define_effects(self.values)
        self._define_ingresses(self.values)
        self._define_webhooks(self.values)
        self._define_process(self.values, version)

    def _define_pings(self, registry: MetricRegistry) -> None:
        self.pings_accepted = _counter_family(
            registry, "pings_accepted", "Accepted pings and repeats of their keys, by ingress.", "ingress"
        )
        self.pings_refused = _counter_family(
            registry,
            "pings_refused",
            "Ping requests and closed change-event windows that the gateway refused, by error label.",
            "reason",
        )
        self.users_unknown = _counter(
            registry, "users_unknown", "Users named in pings that the registry does not contain."
        )
        self.devices_skipped = _counter_family(
            registry, "devices_skipped", "Devices of pinged users that get no delivery, by reason.", "reason"
        )
        # One worker measures the queue for all workers, so the most recent value is the correct one.
        self.queue_depth = _gauge(
            registry, "queue_depth", "Pings in the queue, without retries of pings.", Merge.MOST_RECENT
        )
        self.queue_oldest_age_seconds = _gauge(
            registry,
            "queue_oldest_age_seconds",
            "Age in seconds of the oldest queued ping.",
            Merge.MOST_RECENT,
        )
        self.scheduled_pings = _gauge(
            registry, "scheduled_pings", "Pings that wait for their deliver_at.", Merge.MOST_RECENT
        )
        self.scheduled_bytes = _gauge(
            registry,
            "scheduled_bytes",
            "Size in bytes of the pings that wait for their deliver_at.",
            Merge.MOST_RECENT,
        )
        self.queue_losses = _counter(registry, "queue_losses", "Times that Redis had lost the queue.")
        self.durability_missing = _gauge(
            registry, "durability_missing", "1 while the queue's Redis lacks queue.durability.", Merge.MAX
        )
        self.entries_unreadable = _counter_family(
            registry,
            "entries_unreadable",
            "Queue entries that were quarantined because they could not be read or planned, by stream.",
            "stream",
        )

    def _define_deliveries(self, registry: MetricRegistry) -> None:
        self.deliveries = _counter_family(
            registry,
            "deliveries",
            "Final verdicts of deliveries to devices, by provider, app, verdict and reason.",
            "provider",
            "app",
            "verdict",
            "reason",
        )
        self.retries = _counter_family(
            registry,
            "retries",
            "Delivery attempts that were put on the retry schedule, by provider and reason.",
            "provider",
            "reason",
        )
        self.delivery_seconds = _histogram_family(
            registry,
            "delivery_seconds",
            "Seconds from the acceptance of a ping to the provider's acceptance of each delivery.",
            DELIVERY_BUCKETS_S,
            "provider",
        )

    def _define_lanes(self, registry: MetricRegistry) -> None:
        # Every worker has its own lanes, so their values are merged.
        self.lane_in_flight = _gauge_family(
            registry,
            "lane_in_flight",
            "Deliveries that were sent to the provider and have no response yet, by lane.",
            Merge.SUM,
            "lane",
        )
        self.lane_unsaved = _gauge_family(
            registry,
            "lane_unsaved",
            "Deliveries whose verdict is not recorded in Redis yet, by lane; a kill repeats them.",
            Merge.SUM,
            "lane",
        )
        self.lane_throttled = _alarm_family(
            registry,
            "lane_throttled",
            "1 while the lane sends nothing, or less than it could, after the provider's 429, otherwise 0.",
            "lane",
        )
        self.lane_breaker_open = _alarm_family(
            registry,
            "lane_breaker_open",
            "1 while the lane sends nothing because the provider refused its credential, otherwise 0.",
            "lane",
        )
        self.lane_down = _alarm_family(
            registry,
            "lane_down",
            "1 while the lane can get no connection to the provider or no access token, otherwise 0.",
            "lane",
        )
        self.lanes_stalled = _alarm_family(
            registry,
            "lanes_stalled",
            "1 while all lanes of a worker begin no request because Redis does not answer, by reason, otherwise 0.",
            "reason",
        )
        self.tokens_refused = _alarm_family(
            registry,
            "tokens_refused",
            "1 while APNs has rejected every device token since credential, host or topic changed, otherwise 0.",
            "lane",
            "topic",
        )
        self.credential_expiry_seconds = _gauge_family(
            registry,
            "credential_expiry_seconds",
            "Seconds until the APNs certificate of an app expires; negative after it has expired, +Inf once the app "
            "uses no certificate any longer.",
            Merge.MIN,
            "app",
            "provider",
        )

    def _define_latencies(self, registry: MetricRegistry) -> None:
        self.stage_seconds = _histogram_family(
            registry,
            "stage_seconds",
            "Seconds that pings and deliveries spend in one stage of their path, by stage and provider.",
            STAGE_BUCKETS_S,
            "stage",
            "provider",
        )
        self.provider_responses = _counter_family(
            registry,
            "provider_responses",
            "Responses of providers to deliveries, by provider and HTTP status; none: no response arrived.",
            "provider",
            "status",
        )
        self.redis_seconds = _histogram_family(
            registry,
            "redis_seconds",
            "Seconds from a command to Redis to its reply, sampled once in each round trip, by purpose.",
            PAUSE_BUCKETS_S,
            "purpose",
        )
        self.event_loop_lag_seconds = _histogram(
            registry,
            "event_loop_lag_seconds",
            "Seconds by which the event loop of a worker runs a timer late.",
            PAUSE_BUCKETS_S,
        )
        self.gc_pause_seconds = _histogram_family(
            registry,
            "gc_pause_seconds",
            "Seconds for which Python's cycle collector stops a worker, by generation.",
            PAUSE_BUCKETS_S,
            "generation",
        )

    def _define_effects(self, registry: MetricRegistry) -> None:
        self.sync_after_ping_seconds = _histogram_family(
            registry,
            "sync_after_ping_seconds",
            "Seconds from the acceptance of a ping with sources to the first sync of each device after it.",
            SYNC_BUCKETS_S,
            "provider",
            "app",
        )
        self.sync_awaited = _counter_family(
            registry,
            "sync_awaited",
            "Accepted deliveries of pings with sources, after which the gateway waits for the device's sync.",
            "provider",
            "app",
        )
        self.sync_dropped = _counter(
            registry,
            "sync_dropped",
            "Awaited syncs that the gateway gave up early, to bound its memory.",
        )
        self.acknowledgements = _counter_family(
            registry,
            "acknowledgements",
            "Devices that acknowledged a ping, by provider.",
            "provider",
        )

    def _define_ingresses(self, registry: MetricRegistry) -> None:
        self.rhoconnect_push_waiting_devices = _gauge(
            registry,
            "rhoconnect_push_waiting_devices",
            "RhoConnect Push devices with an open poll.",
            Merge.SUM,
        )
        self.change_events_received = _counter_family(
            registry,
            "change_events_received",
            "Data changes that were received, by kind of input: channel, stream or keyspace.",
            "kind",
        )
        self.change_events_ignored = _counter_family(
            registry, "change_events_ignored", "Data changes that cause no push, by reason.", "reason"
        )
        self.change_events_unmonitored_seconds = _counter(
            registry,
            "change_events_unmonitored_seconds",
            "Seconds without a subscription to data changes: disconnected from Redis, or no gateway running.",
        )
        self.resque_jobs = _counter_family(
            registry, "resque_jobs", "Jobs that were taken from Resque queues, by outcome.", "outcome"
        )

    def _define_webhooks(self, registry: MetricRegistry) -> None:
        self.webhook_deliveries = _counter_family(
            registry,
            "webhook_deliveries",
            "Attempts to deliver a message to a webhook endpoint, by endpoint and result.",
            "endpoint",
            "result",
        )
        # Only the leader of an endpoint has a value other than 0.
        self.webhook_oldest_age_seconds = _gauge_family(
            registry,
            "webhook_oldest_age_seconds",
            "Age in seconds of the oldest event that a webhook endpoint has not accepted; 0 if there is none.",
            Merge.MAX,
            "endpoint",
        )
        self.webhook_disabled = _alarm_family(
            registry,
            "webhook_disabled",
            "1 while a webhook endpoint receives nothing because it answered 410, otherwise 0.",
            "endpoint",
        )
        self.webhook_records_lost = _counter_family(
            registry,
            "webhook_records_lost",
            "Records of the webhook outbox that were removed before an endpoint accepted their events.",
            "endpoint",
        )

    def _define_process(self, registry: MetricRegistry, version: str) -> None:
        self.settings_reload_failed = _gauge(
            registry,
            "settings_reload_failed",
            "1 while the settings file is invalid and the previous settings are in force, otherwise 0.",
            Merge.MAX,
        )
        self.store_errors = _counter_family(
            registry, "store_errors", "Failed Redis calls of background work, by operation.", "operation"
        )
        self.log_lines_dropped = _counter(
            registry,
            "log_lines_dropped",
            "Log lines that were dropped because the reader of stderr or the disk accepted no more.",
        )
        _gauge(
            registry, "build_info", "Always 1; the label is the version of the gateway.", Merge.MAX, "version"
        ).labels(version).set(1)

    @property
    def registry(self) -> Any:
        """A registry of prometheus-client with only the metrics of this process."""
        return _exposition().registry(self._alone)

    def exposition(self) -> bytes:
        """The metrics of this process in Prometheus' text format. It takes milliseconds: not on the event loop."""
        return render(self._alone)

    def _alone(self) -> Iterable[Merged]:
        totals = Totals(self.values.definitions)
        totals.take(0, self.values.states())
        return totals.merged()


def render(merged: Callable[[], Iterable[Merged]]) -> bytes:
    """The merged metrics in Prometheus' text format. The first call imports prometheus-client."""
    text: bytes = _exposition().render(merged)
    return text


def _exposition() -> Any:
    return importlib.import_module("gateway.telemetry.exposition")


def _counter(registry: MetricRegistry, name: str, text: str, *labels: str) -> Counter:
    return _added(registry, Counter(Definition(_PREFIX + name, "counter", text, labels)))


def _counter_family(registry: MetricRegistry, name: str, text: str, *labels: str) -> Family[Counter]:
    return Family(_counter(registry, name, text, *labels))


def _gauge(registry: MetricRegistry, name: str, text: str, merge: Merge, *labels: str) -> Gauge:
    """A gauge; `merge` defines how the values of several workers are combined."""
    return _added(registry, Gauge(Definition(_PREFIX + name, "gauge", text, labels, merge)))


def _gauge_family(
    registry: MetricRegistry, name: str, text: str, merge: Merge, *labels: str
) -> Family[Gauge]:
    return Family(_gauge(registry, name, text, merge, *labels))


def _alarm_family(registry: MetricRegistry, name: str, text: str, *labels: str) -> Family[Gauge]:
    """Gauges that are 1 while the condition applies to any worker."""
    return _gauge_family(registry, name, text, Merge.MAX, *labels)


def _histogram(
    registry: MetricRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    definition = Definition(_PREFIX + name, "histogram", text, labels, buckets=buckets)
    return _added(registry, Histogram(definition))


def _histogram_family(
    registry: MetricRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Family[Histogram]:
    return Family(_histogram(registry, name, text, buckets, *labels))


def _added(registry: MetricRegistry, metric: Kind) -> Kind:
    registry.add(metric)
    return metric
