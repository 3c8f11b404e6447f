"""The metrics' names, which are public, and that several processes count as one gateway."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.metrics import DELIVERY_BUCKETS_S, Durations, Metrics

PUBLIC = {
    "rhopush_pings_accepted_total": {"door"},
    "rhopush_deliveries_total": {"provider", "app", "verdict", "reason"},
    "rhopush_delivery_seconds_count": {"provider"},
    "rhopush_queue_depth": set(),
    "rhopush_queue_oldest_seconds": set(),
    "rhopush_lane_in_flight": {"lane"},
    "rhopush_lane_breaker_open": {"lane"},
    "rhopush_lane_down": {"lane"},
    "rhopush_credential_expiry_seconds": {"app", "provider"},
    "rhopush_rps_connections": set(),
    "rhopush_events_received_total": {"kind"},
    "rhopush_build_info": {"version"},
}

WORKER = """
import sys
from gateway.metrics import Metrics
metrics = Metrics("1.2.3")
metrics.pings_accepted("rest").inc(int(sys.argv[1]))
metrics.delivery_seconds("apns").observe_many([0.004] * int(sys.argv[1]))
metrics.lane_in_flight("apns").set(int(sys.argv[1]))
"""
SCRAPE = """
import sys
from gateway import metrics
metrics.bury(int(pid) for pid in sys.argv[1:])
sys.stdout.buffer.write(metrics.Metrics("1.2.3").exposition())
"""


def filled() -> Metrics:
    metrics = Metrics("1.2.3")
    metrics.pings_accepted("rest").inc(3)
    metrics.deliveries("apns", "com.x", "accepted", "").inc(2)
    metrics.delivery_seconds("apns").observe_many([0.004, 0.2])
    metrics.lane_in_flight("apns").set(7)
    metrics.lane_breaker_open("apns").set(0)
    metrics.lane_down("apns").set(0)
    metrics.credential_expiry_seconds("com.x", "apns").set(86_400)
    metrics.events_received("pubsub").inc()
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


def test_counts_come_in_batches_and_children_are_bound_once() -> None:
    metrics = filled()
    assert metrics.pings_accepted("rest") is metrics.pings_accepted("rest")
    metrics.pings_accepted("rest").inc(4)
    assert samples(metrics.exposition().decode())['rhopush_pings_accepted_total{door="rest"}'] == 7.0


@given(st.lists(st.floats(0, 1e5) | st.sampled_from(DELIVERY_BUCKETS_S), max_size=50))
def test_many_observations_at_once_are_the_same_as_one_by_one(seconds: list[float]) -> None:
    def told(*, together: bool) -> list[tuple[str, float]]:
        durations = Durations("d", "text", buckets=DELIVERY_BUCKETS_S, registry=CollectorRegistry())
        if together:
            durations.observe_many(seconds)
        else:
            for value in seconds:
                durations.observe(value)
        metric = next(iter(durations.collect()))
        return [
            (sample.name + sample.labels.get("le", ""), round(sample.value, 6))
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    assert told(together=True) == told(together=False)


def run(program: str, *arguments: str, folder: Path) -> tuple[int, str]:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=environ, stdout=subprocess.PIPE, text=True
    )
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return process.pid, text


def test_workers_count_as_one_and_only_the_living_have_gauges(tmp_path: Path) -> None:
    first, _ = run(WORKER, "3", folder=tmp_path)
    run(WORKER, "4", folder=tmp_path)
    _, before = run(SCRAPE, folder=tmp_path)
    assert samples(before)['rhopush_lane_in_flight{lane="apns"}'] == 7.0
    _, after = run(SCRAPE, str(first), folder=tmp_path)
    found = samples(after)
    assert found['rhopush_lane_in_flight{lane="apns"}'] == 4.0
    assert found['rhopush_pings_accepted_total{door="rest"}'] == 7.0
    assert found['rhopush_delivery_seconds_bucket{le="0.005",provider="apns"}'] == 7.0
    assert found['rhopush_build_info{version="1.2.3"}'] == 1.0


async def test_a_scrape_leaves_the_loop_free() -> None:
    metrics = filled()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    text = await metrics.scrape()
    turning.cancel()
    assert samples(text.decode()) == samples(metrics.exposition().decode())
    assert turns > 1
