"""Measurements of a worker's own process: the lag of its event loop, and the pauses of Python's cycle collector."""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from gateway.metrics import Metrics
from gateway.telemetry.values import Histogram

LAG_S: Final = 0.1
"""Interval of the timer whose lateness is the lag."""
_GENERATIONS: Final = 3


@contextmanager
def runtime_metrics(metrics: Metrics) -> Iterator[None]:
    """Measure the process until the block ends. Must be entered on the event loop."""
    lag = LoopLag(metrics.event_loop_lag_seconds)
    pauses = CollectorPauses(tuple(metrics.gc_pause_seconds(str(one)) for one in range(_GENERATIONS)))
    gc.callbacks.append(pauses)
    try:
        yield
    finally:
        gc.callbacks.remove(pauses)
        lag.close()


class LoopLag:
    """A timer that measures how late the event loop runs it.

    Args:
        seconds: counts each lateness.
    """

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(LAG_S, self._tick, self._loop.time() + LAG_S)

    def close(self) -> None:
        """Stop the timer."""
        self._timer.cancel()

    def _tick(self, due_s: float) -> None:
        now_s = self._loop.time()
        self._seconds.observe(max(0.0, now_s - due_s))
        self._timer = self._loop.call_later(LAG_S, self._tick, now_s + LAG_S)


class CollectorPauses:
    """A callback for `gc.callbacks` that measures each collection.

    Args:
        seconds: counts the pauses, one histogram for each generation.
    """

    def __init__(self, seconds: tuple[Histogram, ...]) -> None:
        self._seconds = seconds
        self._begun_s = 0.0

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        """See `gc.callbacks`."""
        if phase == "start":
            self._begun_s = time.perf_counter()
        elif self._begun_s:
            self._seconds[info["generation"]].observe(time.perf_counter() - self._begun_s)
