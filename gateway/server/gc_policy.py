"""The schedule of Python's cycle collector: few collections, and full ones while no delivery is in progress.

A full collection visits every live object, while all pings wait: 30 to 45 ms in a worker that has cached
100,000 users (`gc.callbacks` during `rhopush bench mixed`), several times a minute if Python chooses the moment. Few
objects of the gateway end in a cycle, so collections can wait for an idle second.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG_OBJECTS: Final = 50_000
QUIET_S: Final = 60.0
"""Interval of full collections while the worker is idle."""
BUSY_S: Final = 600.0
"""Interval of full collections while the worker is never idle."""
_NEVER: Final = 2**31 - 1


@contextmanager
def paused_collections() -> Iterator[None]:
    """Run no collection while modules are imported: nothing that they make is garbage.

    Measured on the modules of a worker: 1.43 s of CPU, and 1.25 s after `gc.disable()`, as medians of 11 runs each in
    turn of `python -c "import time, gateway.server.worker; print(time.process_time())"` on Python 3.11.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def exempt_modules() -> None:
    """Exempt all present objects from collections. Call it once in a process, when its modules are imported.

    The first collections would visit all objects of the modules several times, for nothing: almost none is garbage.
    """
    gc.freeze()


def limit_collections() -> None:
    """Reduce the work of the collector, once all long-lived objects exist.

    The threshold of the young generation rises from 700 new objects, because a worker creates and drops thousands per
    millisecond. `FullCollections` schedules the old generation.
    """
    gc.collect()
    gc.set_threshold(YOUNG_OBJECTS, 20, _NEVER)
    gc.freeze()  # imported modules and long-lived objects: later collections need not visit them


class FullCollections:
    """Decides when a full collection is due.

    Args:
        now_s: monotonic seconds, as in every call of `due`.
    """

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s

    def due(self, now_s: float, *, quiet: bool) -> bool:
        """Return whether the caller is to run a full collection now."""
        if now_s - self._last_s < (QUIET_S if quiet else BUSY_S):
            return False
        self._last_s = now_s
        return True
