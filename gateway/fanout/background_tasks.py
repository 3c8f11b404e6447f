"""Background tasks that split pings while the worker continues to read its streams."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.scheduling.background import keep_running


class BackgroundTasks:
    """A set of background tasks with a limit on how many run at the same time.

    Args:
        running_max: most tasks that run at the same time; further tasks wait.
    """

    def __init__(self, running_max: int) -> None:
        self._turn = asyncio.Semaphore(running_max)
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Number of tasks that run or wait."""
        return len(self._tasks)

    def begin(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Start a task as soon as fewer than `running_max` others run. After an unexpected error, it starts again."""
        task = asyncio.create_task(self._run(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_for_fewer(self, count: int) -> None:
        """Wait until there are fewer than `count` tasks, including tasks that have not started."""
        while len(self._tasks) >= count:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async with self._turn:
            await keep_running(work, name)
