"""A limited number of background tasks, which are all cancelled at the end."""

import asyncio
from functools import partial

import pytest

from gateway.fanout.background_tasks import BackgroundTasks
from gateway.scheduling import background
from tests.support.worker_core import until


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
    await until(lambda: work.running == 2)
    assert len(tasks) == 5
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
    await until(lambda: work.running == 1)
    await tasks.close()
    assert (len(tasks), work.running, work.cancelled) == (0, 0, 1)


async def test_work_that_failed_unexpectedly_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0.01)
    tasks, done, failures = BackgroundTasks(1), asyncio.Event(), [OSError("a defect")]

    async def work() -> None:
        if failures:
            raise failures.pop()
        done.set()

    tasks.begin(work, "work")
    await done.wait()
    await tasks.close()
