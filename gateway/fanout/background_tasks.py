"""Tasks that split pings while the worker goes on reading."""

import asyncio
from collections.abc import Awaitable, Callable


class BackgroundTasks:
    """Tasks of one kind, of which a few run at once.

    Args:
        running_max: tasks that run at once; the others wait for their turn.
    """

    def __init__(self, running_max: int) -> None:
        self._turn = asyncio.Semaphore(running_max)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Tasks that run or wait for their turn."""
        return len(self._tasks)

    def begin(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run this when its turn comes."""
        task = asyncio.create_task(self._run(work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_for_fewer(self, count: int) -> None:
        """Wait until there are fewer than `count` tasks, those that wait for their turn among them."""
        while len(self._tasks) >= count:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Cancel all tasks, and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._turn:
            await work()
