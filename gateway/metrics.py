"""What Prometheus may ask of the gateway. The names are part of the public interface.

Several workers are one gateway: with `PROMETHEUS_MULTIPROC_DIR` set (the supervisor sets it before a worker
starts), each keeps its numbers in files there and any of them answers for all. Children are bound once and
counts come in batches: an unbound `labels().inc()` costs 1.8 µs, a bound one 0.5 µs, and a worker makes
thousands a second.
"""

import asyncio
import os
from bisect import bisect_left
from collections import Counter as Counted
from collections.abc import Callable, Iterable
from typing import Final, Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus-client reads it when it is imported, so it must be set before this module is."""

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


class Durations(Histogram):
    """A histogram that takes many observations at once: one update a bucket instead of one an observation."""

    def observe_many(self, seconds: Iterable[float]) -> None:
        """Count each of `seconds`."""
        counts = [0] * len(self._upper_bounds)
        total = 0.0
        # Those that came together waited together: of a thousand durations a few are different.
        for value, number in Counted(seconds).items():
            counts[bisect_left(self._upper_bounds, value)] += number
            total += value * number
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


_PREFIX: Final = "rhopush_"

Across = Literal["livesum", "livemax", "livemin", "livemostrecent"]
Kind = TypeVar("Kind", Counter, Gauge, Durations)


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
        queue_oldest_seconds: age of the oldest of them.
        lane_in_flight: sends given to a provider and not answered, by lane.
        lane_breaker_open: 1 while a lane does not send since its credential was refused, by lane.
        lane_down: 1 while a lane has sends and no connection, or no access token, can be had, by lane.
        credential_expiry_seconds: time left for a certificate or key, by app and provider.
        rps_connections: legacy devices that wait for a message.
        events_received: data changes, by kind.
        events_refused: data changes that push nobody, by reason.
        events_deaf_seconds: how long nobody listened for data changes.
        resque_jobs: jobs taken from Resque's queues, by what became of them.
        entries_unreadable: queue entries that could not be read or planned and were put aside, by stream.
        settings_refused: 1 while the settings on disk are wrong and older ones are in force.
        store_errors: failed calls to Redis, by operation.
    """

    def __init__(self, version: str = "") -> None:
        self.registry = registry = CollectorRegistry()
        self.pings_accepted = Family(_counter(registry, "pings_accepted", "Pings made durable", "door"))
        self.pings_refused = Family(_counter(registry, "pings_refused", "Requests refused", "reason"))
        self.users_unknown = _counter(registry, "users_unknown", "Users of pings that nobody knows")
        self.devices_skipped = Family(_counter(registry, "devices_skipped", "Devices left out", "reason"))
        self.deliveries = Family(
            _counter(registry, "deliveries", "Final verdicts", "provider", "app", "verdict", "reason")
        )
        self.retries = Family(
            _counter(registry, "retries", "Sends put on the schedule", "provider", "reason")
        )
        self.delivery_seconds = Family(
            Durations(
                f"{_PREFIX}delivery_seconds",
                "From the door to the verdict",
                ["provider"],
                buckets=DELIVERY_BUCKETS_S,
                registry=registry,
            )
        )
        # One worker measures the queue for all, so the newest value is the true one; lanes are in every
        # worker.
        self.queue_depth = _gauge(registry, "queue_depth", "Pings not finished", "livemostrecent")
        self.queue_oldest_seconds = _gauge(
            registry, "queue_oldest_seconds", "Age of the oldest", "livemostrecent"
        )
        self.lane_in_flight = Family(
            _gauge(registry, "lane_in_flight", "Sends not answered yet", "livesum", "lane")
        )
        self.lane_breaker_open = Family(
            _gauge(registry, "lane_breaker_open", "1 while the credential is refused", "livemax", "lane")
        )
        self.lane_down = Family(
            _gauge(
                registry, "lane_down", "1 while no connection or access token can be had", "livemax", "lane"
            )
        )
        self.credential_expiry_seconds = Family(
            _gauge(registry, "credential_expiry_seconds", "Time left for it", "livemin", "app", "provider")
        )
        self.rps_connections = _gauge(registry, "rps_connections", "Legacy devices that wait", "livesum")
        self.events_received = Family(_counter(registry, "events_received", "Data changes", "kind"))
        self.settings_refused = _gauge(
            registry, "settings_refused", "1 while changed settings are wrong", "livemax"
        )
        self.events_refused = Family(_counter(registry, "events_refused", "Changes without push", "reason"))
        self.events_deaf_seconds = _counter(registry, "events_deaf_seconds", "Nobody listened for changes")
        self.resque_jobs = Family(_counter(registry, "resque_jobs", "Jobs of Resque", "outcome"))
        self.entries_unreadable = Family(
            _counter(
                registry,
                "entries_unreadable",
                "Queue entries that could not be read or planned and were put aside",
                "stream",
            )
        )
        self.store_errors = Family(_counter(registry, "store_errors", "Failed calls to Redis", "operation"))
        _gauge(registry, "build_info", "Always 1", "livemax", "version").labels(version).set(1)

    def exposition(self) -> bytes:
        """The text that Prometheus reads, of all workers together. Takes some 10 ms: not on the loop."""
        folder = os.environ.get(DIRECTORY_VARIABLE)
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        make: Callable[..., MultiProcessCollector] = MultiProcessCollector  # left untyped
        make(together, path=folder)
        return generate_latest(together)

    async def scrape(self) -> bytes:
        """`exposition`, made in a thread."""
        return await asyncio.to_thread(self.exposition)


def bury(pids: Iterable[int]) -> None:
    """Forget the gauges of workers that have ended; their counts stay."""
    forget: Callable[[int], None] = mark_process_dead  # left untyped
    if DIRECTORY_VARIABLE in os.environ:
        for pid in pids:
            forget(pid)


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(_PREFIX + name, text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, across: Across, *labels: str) -> Gauge:
    """A gauge; `across` says what the values of several workers amount to."""
    return Gauge(_PREFIX + name, text, labels, registry=registry, multiprocess_mode=across)
