"""Long work in slices, one a turn of the event loop, so that small pings are served in between.

A small ping takes some ten turns from its POST to its verdict. Whatever a broadcast does in one of them, that ping
waits for, so all that is done for broadcasts together gets one slice a turn. While small pings are under way, and a
moment longer, it gets one slice in `YIELD_INTERVAL_S`: the next one shall not find loop, Redis and provider with their
hands full. That still leaves some ten thousand sends a second, and a ping that hangs does not count.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

SLICE: Final = 32
"""Sends, or users read from RhoConnect's own keys, in one slice: at 10 to 15 µs each, for the loop and those it asks,
some 0.4 ms."""
LIGHT_SLICE: Final = 100
"""Users or devices in one slice of what costs 2 to 5 µs each: snapshots, choosing, planning."""
YIELD_INTERVAL_S: Final = 0.001
"""Between two slices of calm: uvloop's timers know no less."""
LINGER_S: Final = 0.006
"""So long after a small ping came it stays calm: of two hundred a second the next one is under way by then."""
URGENT_S: Final = 0.1
"""A small ping that is not over by then waits for its provider, and for no turn of this loop."""
Item = TypeVar("Item")


class Scheduler:
    """Hands out the turns of one loop, in the order in which they were asked for.

    Args:
        clock: monotonic seconds, by which small pings age; the loop's unless given.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time if clock is None else clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._small = 0
        self._newest_s = float("-inf")

    def small_started(self) -> None:
        """A small ping, or several that came together, is under way."""
        self._small += 1
        self._newest_s = self._clock()

    def small_finished(self) -> None:
        """It is over."""
        self._small -= 1

    @property
    def should_yield(self) -> bool:
        """Whether long work steps back: a small ping came a moment ago, or is under way and its provider answers."""
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
            if not future.done():  # else its task was cancelled
                future.set_result(None)
                break
        self._scheduled = False
        if self._waiting:
            self._schedule()


def slices(items: Sequence[Item], size: int = SLICE) -> Iterator[Sequence[Item]]:
    """The items, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
