"""A limited number of background tasks, which are all cancelled at the end."""

import asyncio
from functools import partial

from gateway.fanout.background_tasks import BackgroundTasks


class Work:
    """Work that runs until it is let go."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.go = asyncio.Event()

    async def run(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


async def test_no_more_tasks_run_than_allowed() -> None:
    tasks, work = BackgroundTasks(2), Work()
    for number in range(5):
        tasks.begin(work.run, str(number))
    await asyncio.sleep(0)
    assert (len(tasks), work.running) == (5, 2)
    work.go.set()
    await tasks.wait_for_fewer(1)
    assert (len(tasks), work.running, work.most) == (0, 0, 2)


async def test_waiting_for_fewer_counts_waiting_tasks() -> None:
    tasks, works = BackgroundTasks(1), [Work(), Work(), Work()]
    for work in works:
        tasks.begin(work.run, "one")
    await tasks.wait_for_fewer(4)
    waiting = asyncio.create_task(tasks.wait_for_fewer(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    works[0].go.set()
    await waiting
    assert len(tasks) == 2
    await tasks.close()


async def test_closing_cancels_running_and_waiting_tasks() -> None:
    tasks, work = BackgroundTasks(1), Work()
    for _ in range(3):
        tasks.begin(partial(work.run), "one")
    await asyncio.sleep(0)
    await tasks.close()
    await asyncio.sleep(0)
    assert (len(tasks), work.running, work.cancelled) == (0, 0, 1)
