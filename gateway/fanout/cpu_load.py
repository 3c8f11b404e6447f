"""How busy this worker is, so that it leaves to its siblings what they could do meanwhile."""

import time
from collections.abc import Callable
from typing import Final

SAMPLE_S: Final = 0.1
"""Between two looks: long enough to be a mean, short enough to follow a burst."""


class CpuLoad:
    """The share of the time that this thread computed, as of the last look.

    Args:
        clock: monotonic seconds.
        used: seconds of CPU that this thread has used.
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
        """0: it waited all the time; 1: it never did."""
        now_s = self._clock()
        passed_s = now_s - self._since_s
        if passed_s >= SAMPLE_S:
            used_s = self._used()
            self._share = (used_s - self._before_s) / passed_s
            self._since_s, self._before_s = now_s, used_s
        return self._share
