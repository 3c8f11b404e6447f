"""Long work in slices, with other work in between."""

import asyncio

import pytest

from gateway.scheduling.scheduler import LINGER_S, SLICE, URGENT_S, YIELD_INTERVAL_S, Scheduler, slices


async def test_one_slice_runs_in_each_turn() -> None:
    """Two tasks share the turns; other callbacks run between any two slices."""
    scheduler, log = Scheduler(), list[str]()

    async def work(name: str) -> None:
        for _ in range(3):
            await scheduler.turn()
            log.append(name)

    def other() -> None:
        log.append("-")
        if len(log) < 40:
            asyncio.get_running_loop().call_soon(other)

    other()
    await asyncio.gather(work("a"), work("b"))
    marks = "".join(log).strip("-")
    assert marks.replace("-", "") == "ababab"
    assert all(letters not in marks for letters in ("ab", "ba", "aa", "bb"))


async def test_a_cancelled_worker_takes_no_turn() -> None:
    scheduler, done = Scheduler(), list[str]()

    async def work(name: str) -> None:
        await scheduler.turn()
        done.append(name)

    *gone, stays = (asyncio.create_task(work(name)) for name in (*["gone"] * 50, "stays"))
    await asyncio.sleep(0)  # all wait
    for task in gone:
        task.cancel()
    for _ in range(10):  # iterations of the loop, one for each turn
        await asyncio.sleep(0)
    assert stays.done()
    assert done == ["stays"]
    await asyncio.wait_for(work("later"), 30)  # and there are turns again after all tasks had theirs


class Calls:
    """Records how slices were scheduled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.calm = 0
        later = loop.call_later

        def counted(delay_s: float, *args: object) -> object:
            self.calm += delay_s == YIELD_INTERVAL_S
            return later(delay_s, *args)

        monkeypatch.setattr(loop, "call_later", counted)


@pytest.mark.parametrize(
    ("came", "went", "age_s", "calm"),
    [
        (0, 0, 0.0, 0),
        (1, 0, 2 * LINGER_S, 3),
        (2, 1, 2 * LINGER_S, 3),
        (2, 2, 0.0, 3),
        (2, 2, 2 * LINGER_S, 0),
        (1, 0, URGENT_S, 0),
    ],
    ids=["nothing small", "one", "one of two", "both just over", "both over", "one hangs"],
)
async def test_slices_are_spaced_out_during_and_shortly_after_a_small_ping(
    monkeypatch: pytest.MonkeyPatch, came: int, went: int, age_s: float, calm: int
) -> None:
    now_s = 0.0
    scheduler, calls = Scheduler(lambda: now_s), Calls(monkeypatch)
    for _ in range(came):
        scheduler.small_started()
    for _ in range(went):
        scheduler.small_finished()
    now_s = age_s
    for _ in range(3):
        await asyncio.wait_for(scheduler.turn(), 30)
    assert calls.calm == calm


@pytest.mark.parametrize("count", [0, 1, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE])
def test_slices_contain_all_items(count: int) -> None:
    parts = list(slices(range(count)))
    assert [number for part in parts for number in part] == list(range(count))
    assert all(1 <= len(part) <= SLICE for part in parts)
