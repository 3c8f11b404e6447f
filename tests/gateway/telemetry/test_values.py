"""Counters, gauges and histograms in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Witness

from gateway.metrics import DELIVERY_BUCKETS_S
from gateway.telemetry.values import Change, Counter, Definition, Gauge, Histogram, Merge, MetricRegistry

DURATIONS = Definition("d", "histogram", "text", buckets=DELIVERY_BUCKETS_S)


@given(st.lists(st.floats(0, 1e5) | st.sampled_from(DELIVERY_BUCKETS_S), max_size=50))
def test_many_observations_together_equal_single_ones(seconds: list[float]) -> None:
    together, single = Histogram(DURATIONS), Histogram(DURATIONS)
    together.observe_many(seconds)
    for value in seconds:
        single.observe(value)
    assert together.counts == single.counts
    assert together.total == pytest.approx(single.total)


@given(st.floats(0, 1e5) | st.sampled_from(DELIVERY_BUCKETS_S), st.integers(0, 300))
def test_a_duration_of_several_events_counts_as_often(seconds: float, times: int) -> None:
    together, single = Histogram(DURATIONS), Histogram(DURATIONS)
    together.observe_times(seconds, times)
    single.observe_many([seconds] * times)
    assert together.counts == single.counts
    assert together.total == pytest.approx(single.total)


@given(st.lists(st.floats(0, 1e5) | st.sampled_from(DELIVERY_BUCKETS_S), max_size=50))
def test_a_histogram_counts_as_prometheus_own_does(seconds: list[float]) -> None:
    ours, theirs = (
        Histogram(DURATIONS),
        Witness("d", "text", buckets=DELIVERY_BUCKETS_S, registry=CollectorRegistry()),
    )
    ours.observe_many(seconds)
    for value in seconds:
        theirs.observe(value)
    (metric,) = theirs.collect()
    cumulative = [sample.value for sample in metric.samples if sample.name == "d_bucket"]
    assert [sum(ours.counts[: at + 1]) for at in range(len(ours.counts))] == cumulative


def registry() -> tuple[MetricRegistry, Counter, Gauge]:
    made = MetricRegistry()
    counter, gauge = (
        Counter(Definition("c", "counter", "text", ("by",))),
        Gauge(Definition("g", "gauge", "text")),
    )
    made.add(counter)
    made.add(gauge)
    return made, counter, gauge


def changes(registry: MetricRegistry) -> list[Change]:
    return [change for change in registry.changes() if change is not None]


def test_only_what_has_changed_is_reported_and_in_full() -> None:
    made, counter, gauge = registry()
    assert changes(made) == [("g", (), (0,))]
    counter.labels("x").inc(2)
    gauge.set(5)
    assert changes(made) == [("c", ("x",), (2,)), ("g", (), (5,))]
    assert changes(made) == []
    counter.labels("x").inc()
    assert changes(made) == [("c", ("x",), (3,))]
    assert list(made.states()) == [("c", ("x",), (3,)), ("g", (), (5,))]


def test_a_most_recent_gauge_that_is_set_again_is_reported_again() -> None:
    made = MetricRegistry()
    gauge = Gauge(Definition("g", "gauge", "text", merge=Merge.MOST_RECENT))
    made.add(gauge)
    gauge.set(1)
    ((_, _, first),) = changes(made)
    gauge.set(1)
    ((_, _, second),) = changes(made)
    assert first[0] == second[0] == 1
    assert first[1] < second[1]


def test_labels_are_as_many_as_their_names_and_can_be_encoded() -> None:
    _, counter, _ = registry()
    with pytest.raises(ValueError, match="by"):
        counter.labels("x", "y")
    assert counter.labels("a\ud800") is counter.labels("a?")


def test_a_total_that_is_counted_elsewhere_never_falls() -> None:
    counter = Counter(Definition("c", "counter", "text"))
    counter.advance(3)
    counter.advance(2)
    assert counter.value == 3
