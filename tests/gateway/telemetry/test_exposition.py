"""Metrics as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.exposition import render
from gateway.telemetry.totals import Merged
from gateway.telemetry.values import Definition

PINGS = Definition("pings", "counter", "Pings accepted.", ("ingress",))
DEPTH = Definition("depth", "gauge", "Pings that wait.")
SECONDS = Definition("seconds", "histogram", "Time to the verdict.", buckets=(0.5, 2.0))


def samples() -> dict[str, float]:
    merged = [
        Merged(PINGS, {("http",): (3.0,), ('a"b\n',): (1.0,)}),
        Merged(DEPTH, {(): (7.0,)}),
        Merged(SECONDS, {(): (4.5, 2.0, 1.0, 3.0)}),
    ]
    found = text_string_to_metric_families(render(lambda: merged).decode())
    return {
        f"{sample.name} {','.join(sample.labels.values())}".rstrip(" "): sample.value
        for family in found
        for sample in family.samples
    }


def test_each_kind_of_metric_is_rendered() -> None:
    assert samples() == {
        "pings_total http": 3.0,
        'pings_total a"b\n': 1.0,
        "depth": 7.0,
        "seconds_bucket 0.5": 2.0,
        "seconds_bucket 2.0": 3.0,
        "seconds_bucket +Inf": 6.0,
        "seconds_count": 6.0,
        "seconds_sum": 4.5,
    }


def test_a_metric_without_children_has_its_help() -> None:
    text = render(lambda: [Merged(PINGS, {})]).decode()
    assert text.splitlines() == ["# HELP pings_total Pings accepted.", "# TYPE pings_total counter"]
