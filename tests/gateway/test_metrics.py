"""The metrics' names, which are public, and their text by prometheus-client's own reader."""

import re

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import CONTENT_TYPE, Metrics

PUBLIC = {
    "rhopush_pings_accepted_total": {"ingress"},
    "rhopush_deliveries_total": {"provider", "app", "verdict", "reason"},
    "rhopush_delivery_seconds_count": {"provider"},
    "rhopush_stage_seconds_count": {"stage", "provider"},
    "rhopush_provider_responses_total": {"provider", "status"},
    "rhopush_redis_seconds_count": {"purpose"},
    "rhopush_event_loop_lag_seconds_count": set(),
    "rhopush_gc_pause_seconds_count": {"generation"},
    "rhopush_sync_after_ping_seconds_count": {"provider", "app"},
    "rhopush_sync_awaited_total": {"provider", "app"},
    "rhopush_sync_dropped_total": set(),
    "rhopush_acknowledgements_total": {"provider"},
    "rhopush_queue_depth": set(),
    "rhopush_queue_oldest_age_seconds": set(),
    "rhopush_scheduled_pings": set(),
    "rhopush_scheduled_bytes": set(),
    "rhopush_lane_in_flight": {"lane"},
    "rhopush_lane_unsaved": {"lane"},
    "rhopush_lane_throttled": {"lane"},
    "rhopush_lane_breaker_open": {"lane"},
    "rhopush_lane_down": {"lane"},
    "rhopush_tokens_refused": {"lane", "topic"},
    "rhopush_credential_expiry_seconds": {"app", "provider"},
    "rhopush_rhoconnect_push_waiting_devices": set(),
    "rhopush_change_events_received_total": {"kind"},
    "rhopush_log_lines_dropped_total": set(),
    "rhopush_build_info": {"version"},
}


def filled() -> Metrics:
    metrics = Metrics("1.2.3")
    metrics.pings_accepted("http").inc(3)
    metrics.deliveries("apns", "com.x", "accepted", "").inc(2)
    metrics.delivery_seconds("apns").observe_many([0.004, 0.2])
    metrics.stage_seconds("response", "apns").observe_times(0.01, 2)
    metrics.provider_responses("apns", "200").inc(2)
    metrics.redis_seconds("append").observe(0.001)
    metrics.gc_pause_seconds("0").observe(0.001)
    metrics.sync_after_ping_seconds("apns", "com.x").observe(3)
    metrics.sync_awaited("apns", "com.x").inc()
    metrics.acknowledgements("apns").inc()
    metrics.lane_in_flight("apns").set(7)
    metrics.lane_unsaved("apns").set(2)
    metrics.lane_throttled("apns").set(0)
    metrics.lane_breaker_open("apns").set(0)
    metrics.lane_down("apns").set(0)
    metrics.tokens_refused("apns", "com.x").set(0)
    metrics.credential_expiry_seconds("com.x", "apns").set(86_400)
    metrics.change_events_received("pubsub").inc()
    return metrics


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_the_public_names_and_labels_are_there() -> None:
    found: dict[str, set[str]] = {}
    for sample in samples(filled().exposition().decode()):
        name, _, labels = sample.partition("{")
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    for name, labels in PUBLIC.items():
        assert found[name] == labels, name


def test_prometheus_parser_reads_the_rendered_text() -> None:
    families = {
        family.name: family for family in text_string_to_metric_families(filled().exposition().decode())
    }
    assert families["rhopush_pings_accepted"].type == "counter"
    assert families["rhopush_delivery_seconds"].type == "histogram"
    assert families["rhopush_lane_in_flight"].type == "gauge"
    assert all(family.documentation for family in families.values())
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4


def test_counts_come_in_batches_and_children_are_bound_once() -> None:
    metrics = filled()
    assert metrics.pings_accepted("http") is metrics.pings_accepted("http")
    metrics.pings_accepted("http").inc(4)
    assert samples(metrics.exposition().decode())['rhopush_pings_accepted_total{ingress="http"}'] == 7.0
