"""When Python's cycle collector works: seldom, and in full only while nothing is being sent.

A full collection walks whatever lives, and every ping waits meanwhile: 30 to 45 ms in a worker that remembers
100,000 users (`gc.callbacks` during `rhopush bench mixed`), several times a minute if Python chooses the moment.
Hardly anything here ends in a cycle, so a quiet second is soon enough.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 50_000
QUIET_S: Final = 60.0
"""Between two full collections, if the worker has nothing to send."""
BUSY_S: Final = 600.0
"""The same, if it always has."""
_NEVER: Final = 2**31 - 1


def limit_collections() -> None:
    """Let the collector do little, once all that stays is built.

    The young generation is looked through after so many new objects instead of 700: a worker makes and drops
    thousands a millisecond. Measured on a broadcast: 12 % of the CPU. The old one is left to `FullCollections`.
    """
    gc.collect()
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)
    gc.freeze()  # what was imported and built stays: later collections need not walk it


class FullCollections:
    """Decides when to collect in full.

    Args:
        now_s: monotonic seconds, as every later `now_s`.
    """

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s

    def due(self, now_s: float, *, quiet: bool) -> bool:
        """Whether now is the moment; then the caller collects."""
        if now_s - self._last_s < (QUIET_S if quiet else BUSY_S):
            return False
        self._last_s = now_s
        return True
