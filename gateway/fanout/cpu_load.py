"""CPU load of this worker, by which it decides whether to leave entries to its siblings."""

import time
from collections.abc import Callable
from typing import Final

SAMPLE_S: Final = 0.1
"""Shortest time between two samples: long enough for a mean, short enough to follow a burst."""


class CpuLoad:
    """The share of time that this thread spent computing, as of the latest sample.

    Args:
        clock: monotonic seconds.
        used: CPU seconds used by this thread.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.thread_time
    ) -> None:
        self._clock = clock
        self._used = used
        self._since_s = clock()
        self._before_s = used()
        self._share = 0.0

    def share(self) -> float:
        """CPU share from 0 (always waiting) to 1 (always computing)."""
        now_s = self._clock()
        passed_s = now_s - self._since_s
        if passed_s >= SAMPLE_S:
            used_s = self._used()
            self._share = (used_s - self._before_s) / passed_s
            self._since_s, self._before_s = now_s, used_s
        return self._share
