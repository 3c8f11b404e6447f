"""The lag of the event loop, and the pauses of the cycle collector, as they happen."""

import gc
import time

from gateway.metrics import Metrics
from gateway.server.runtime_metrics import runtime_metrics
from tests.support.worker_core import until

BLOCKED_S = 0.3


async def test_a_blocked_loop_is_a_lag() -> None:
    metrics = Metrics()
    lag = metrics.event_loop_lag_seconds
    with runtime_metrics(metrics):
        await until(lambda: sum(lag.counts) >= 2)
        before, measured = lag.total, sum(lag.counts)
        time.sleep(BLOCKED_S)
        await until(lambda: sum(lag.counts) > measured)
        assert lag.total - before > BLOCKED_S / 2
    counts = sum(lag.counts)
    time.sleep(0.15)
    assert sum(lag.counts) == counts


async def test_each_collection_is_a_pause_of_its_generation() -> None:
    metrics = Metrics()
    callbacks = list(gc.callbacks)
    with runtime_metrics(metrics):
        gc.collect(0)
        gc.collect(2)
        assert sum(metrics.gc_pause_seconds("0").counts) >= 1
        assert sum(metrics.gc_pause_seconds("2").counts) >= 1
        assert metrics.gc_pause_seconds("2").total > 0
    assert gc.callbacks == callbacks
