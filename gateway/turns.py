"""Long work in slices, one a turn of the event loop, so that small pings are served in between.

A small ping takes some ten turns from its POST to its verdict. Whatever a broadcast does in one of them, that ping
waits for, so all that is done for broadcasts together gets one slice a turn, and while a small ping is under way, one
slice in `CALM_S`. That still leaves some thousand sends a second, and a ping that hangs does not count.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

SLICE: Final = 32
"""Devices or users in one slice: at about 5 µs each, some 0.15 ms."""
CALM_S: Final = 0.001
"""Between two slices while a small ping is under way: uvloop's timers know no less."""
URGENT_S: Final = 0.1
"""A small ping that is not over by then waits for its provider, and for no turn of this loop."""
Item = TypeVar("Item")


class Turns:
    """Hands out the turns of one loop, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._small = 0
        self._newest_s = 0.0

    def small_came(self) -> None:
        """A small ping, or several that came together, is under way."""
        self._small += 1
        self._newest_s = self._loop.time()

    def small_went(self) -> None:
        """It is over."""
        self._small -= 1

    async def turn(self) -> None:
        """Wait for a turn."""
        future = self._loop.create_future()
        self._waiting.append(future)
        if not self._scheduled:
            self._schedule()
        await future

    def _schedule(self) -> None:
        self._scheduled = True
        if self._small and self._loop.time() - self._newest_s < URGENT_S:
            self._loop.call_later(CALM_S, self._next)
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


def slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items, `SLICE` at a time."""
    for start in range(0, len(items), SLICE):
        yield items[start : start + SLICE]
