"""Rendering of metrics for Prometheus through prometheus-client's public interface.

Importing prometheus-client takes 2.6 MB and 80 ms of CPU (it loads a TLS and an HTTP server), so only the process
that renders imports this module, at the first rendering.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.telemetry.totals import Merged
from gateway.telemetry.values import Definition, Labels, Numbers


class MergedCollector(Collector):
    """Collector for prometheus-client that returns the metrics of `merged` at each collection."""

    def __init__(self, merged: Callable[[], Iterable[Merged]]) -> None:
        self._merged = merged

    def collect(self) -> Iterator[Metric]:
        """Every metric as a family of samples."""
        for definition, children in self._merged():
            family = _empty(definition)
            for labels, numbers in children.items():
                _add(family, definition, labels, numbers)
            yield family


def registry(merged: Callable[[], Iterable[Merged]]) -> CollectorRegistry:
    """A registry of prometheus-client with these metrics."""
    made = CollectorRegistry()
    made.register(MergedCollector(merged))
    return made


def render(merged: Callable[[], Iterable[Merged]]) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(registry(merged))


def _empty(definition: Definition) -> Metric:
    name, text, labels = definition.name, definition.text, definition.label_names
    if definition.kind == "counter":
        return CounterMetricFamily(name, text, labels=labels)
    if definition.kind == "gauge":
        return GaugeMetricFamily(name, text, labels=labels)
    return HistogramMetricFamily(name, text, labels=labels)


def _add(family: Metric, definition: Definition, labels: Labels, numbers: Numbers) -> None:
    if isinstance(family, HistogramMetricFamily):
        bounds = [*(str(float(bound)) for bound in definition.buckets), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(numbers[1:]), strict=True)), numbers[0])
    elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
        family.add_metric(labels, numbers[0])
