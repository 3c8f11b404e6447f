"""Cooperative scheduling: long work runs in slices, one in each event loop iteration, with small pings in between.

A small ping takes some ten iterations from its POST to its verdict, and waits for everything that a broadcast does
in them. Therefore all work for broadcasts together gets one slice in each iteration. While small pings are in
flight, and for a moment after, it gets one slice in `YIELD_INTERVAL_S`, so that loop, Redis and provider are free
for the next small ping. This still allows some ten thousand deliveries a second. A ping whose provider does not
answer is ignored.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

SLICE: Final = 32
"""Deliveries, or users read from RhoConnect's own keys, in one slice: at 10 to 15 µs each, for the loop and the
servers it calls, some 0.4 ms."""
LIGHT_SLICE: Final = 100
"""Users or devices in one slice of work that costs 2 to 5 µs each: snapshots, selection, planning."""
YIELD_INTERVAL_S: Final = 0.001
"""Interval between slices while small pings are in flight; the resolution of uvloop's timers."""
LINGER_S: Final = 0.006
"""Time after a small ping for which long work still yields: at two hundred small pings a second, the next one is in
flight at the end of this time."""
URGENT_S: Final = 0.1
"""A small ping that is unfinished after this time waits for its provider, not for this loop."""
Item = TypeVar("Item")


class Scheduler:
    """Grants the turns of one event loop, in the order of the requests.

    Args:
        clock: monotonic seconds, by which the age of small pings is measured; default: the loop's clock.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time if clock is None else clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._small = 0
        self._newest_s = float("-inf")

    def small_started(self) -> None:
        """Record that a small ping, or several that arrived together, is in flight."""
        self._small += 1
        self._newest_s = self._clock()

    def small_finished(self) -> None:
        """Record that a small ping is finished."""
        self._small -= 1

    @property
    def should_yield(self) -> bool:
        """Whether long work must yield: a small ping arrived a moment ago, or is in flight and its provider answers."""
        since_s = self._clock() - self._newest_s
        return since_s < LINGER_S or (self._small > 0 and since_s < URGENT_S)

    async def turn(self) -> None:
        """Wait for a turn."""
        future = self._loop.create_future()
        self._waiting.append(future)
        if not self._scheduled:
            self._schedule()
        await future

    def _schedule(self) -> None:
        self._scheduled = True
        if self.should_yield:
            self._loop.call_later(YIELD_INTERVAL_S, self._next)
        else:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():  # otherwise its task was cancelled
                future.set_result(None)
                break
        self._scheduled = False
        if self._waiting:
            self._schedule()


def slices(items: Sequence[Item], size: int = SLICE) -> Iterator[Sequence[Item]]:
    """Split the items into slices of `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
