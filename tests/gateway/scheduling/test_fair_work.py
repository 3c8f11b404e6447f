"""Jobs in turns: by client, those without failures first, and an account under attack spaced out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.errors import AuthenticationBusy, StoreDown, TooManyRequests
from gateway.scheduling import fair_work
from gateway.scheduling.fair_work import FairWork

WAIT_S = 30.0


class Stage:
    """Jobs that begin at their turn, and end when the test ends them."""

    def __init__(self, at_once: int = 1, **options: Any) -> None:
        self.begun: list[str] = []
        self.work = FairWork(at_once, **options)
        self._ends: dict[str, asyncio.Event] = {}
        self._changed = asyncio.Event()

    def start(self, name: str, client: str = "", subject: str = "") -> asyncio.Future[str]:
        async def work() -> str:
            self.begun.append(name)
            self._changed.set()
            await self._ends.setdefault(name, asyncio.Event()).wait()
            return name

        return asyncio.ensure_future(self.work.run(work, client=client or name[0], subject=subject))

    def end(self, *names: str) -> None:
        for name in names:
            self._ends.setdefault(name, asyncio.Event()).set()

    async def has_begun(self, name: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while name not in self.begun:
                self._changed.clear()
                await self._changed.wait()


async def passed(futures: list[asyncio.Future[str]]) -> list[object]:
    async with asyncio.timeout(WAIT_S):
        return list(await asyncio.gather(*futures, return_exceptions=True))


async def test_clients_take_turns() -> None:
    stage = Stage()
    names = ["a1", "a2", "a3", "b1"]
    started = [stage.start(name) for name in names]
    stage.end(*names)
    assert await passed(started) == names
    assert stage.begun == ["a1", "b1", "a2", "a3"]


async def test_the_number_of_running_jobs_is_limited() -> None:
    stage = Stage(at_once=2)
    started = [stage.start(name) for name in ("a1", "b1", "c1")]
    await stage.has_begun("b1")
    assert stage.begun == ["a1", "b1"]
    stage.end("b1")
    await stage.has_begun("c1")
    stage.end("a1", "c1")
    await passed(started)


async def test_a_client_without_failures_overtakes_those_with_some() -> None:
    stage = Stage()
    blocker = stage.start("x1")
    await stage.has_begun("x1")
    flood = [stage.start(f"f{number}") for number in range(5)]
    await asyncio.sleep(0)
    stage.work.demote("f", "")  # also waiting jobs
    good = [stage.start(f"g{number}") for number in range(3)]
    stage.end("x1", *(f"f{number}" for number in range(5)), *(f"g{number}" for number in range(3)))
    await passed([blocker, *flood, *good])
    assert stage.begun[1:4] != ["f0", "f1", "f2"]
    assert [name[0] for name in stage.begun[1:6]].count("f") == 2, (
        "each fourth turn is of those with failures"
    )


async def test_one_job_is_reserved_for_clients_without_failures() -> None:
    stage = Stage(at_once=2)
    stage.work.demote("f", "")
    flood = [stage.start(f"f{number}") for number in range(3)]
    await stage.has_begun("f0")
    good = stage.start("g1")
    await stage.has_begun("g1")
    assert stage.begun == ["f0", "g1"]
    stage.end("f0", "f1", "f2", "g1")
    await passed([*flood, good])


async def test_of_very_many_clients_with_failures_the_newest_are_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_work, "_FAILING_MAX", 2)
    work = FairWork(1)
    for client in ("a", "b", "a", "c"):
        work.demote(client, "")
    assert [client for client in "abc" if work.is_failing(client)] == ["a", "c"]


async def test_beyond_the_bound_and_after_its_time_limit_a_client_is_refused() -> None:
    stage = Stage(waiting_max=1, patience_s=0.01)
    first = stage.start("a1")
    await stage.has_begun("a1")
    with pytest.raises(AuthenticationBusy):
        await first
    waiting, refused = stage.start("b1"), stage.start("b2")
    found = await passed([waiting, refused])
    assert [type(one) for one in found] == [AuthenticationBusy] * 2
    stage.end("a1")


async def test_a_held_account_is_spaced_out_and_delays_no_other() -> None:
    stage = Stage(at_once=8)
    stage.work.delay("account", 0.05)
    started = [stage.start(f"{client}1", subject="account") for client in "abc"]
    other = stage.start("x1", subject="other")
    await stage.has_begun("x1")
    assert stage.begun == ["x1"]
    await stage.has_begun("a1")
    assert stage.begun == ["x1", "a1"], "one at a time"
    stage.work.delay("account", 0.05)
    stage.end("a1", "b1", "c1", "x1")
    assert await passed([*started, other]) == ["a1", "b1", "c1", "x1"]
    assert stage.work._held == {}


async def test_of_a_held_account_the_client_without_failures_comes_first() -> None:
    stage = Stage(at_once=8)
    stage.work.delay("account", 0.05)
    for client in "abc":
        stage.work.demote(client, "account")
    flood = [stage.start(f"{client}1", subject="account") for client in "abc"]
    good = stage.start("g1", subject="account")
    stage.end("a1", "b1", "c1", "g1")
    await passed([*flood, good])
    assert stage.begun[0] == "g1"


async def test_a_held_account_continues_when_its_next_client_has_left() -> None:
    stage = Stage()
    blocker = stage.start("x1")
    await stage.has_begun("x1")
    stage.work.delay("account", 0.0)
    gone, good = stage.start("a1", subject="account"), stage.start("b1", subject="account")
    stage.end("b1")
    stage.end("x1")
    await asyncio.sleep(0)
    gone.cancel()
    assert (await passed([blocker, good])) == ["x1", "b1"]


async def test_a_refused_job_frees_its_turn_immediately() -> None:
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    def refusal(client: str, subject: str) -> TooManyRequests | None:
        return TooManyRequests("no", retry_after_s=7) if (client, subject) == ("bad", "account") else None

    fair = FairWork(1, refusal)
    with pytest.raises(TooManyRequests) as caught:
        await fair.run(work, client="bad", subject="account")
    assert caught.value.retry_after_s == 7
    assert not begun
    await fair.run(work, client="good", subject="account")
    assert begun


@pytest.mark.parametrize("error", [StoreDown("gone"), ZeroDivisionError()])
async def test_a_failure_of_the_work_is_its_callers(error: Exception) -> None:
    async def work() -> None:
        raise error

    async def fine() -> str:
        return "fine"

    fair = FairWork(1)
    with pytest.raises(type(error)):
        await fair.run(work, client="a")
    after: Callable[[], Awaitable[str]] = fine
    assert await fair.run(after, client="a") == "fine"


async def test_after_close_no_job_runs_and_no_caller_waits() -> None:
    stage = Stage()
    running, waiting = stage.start("a1"), stage.start("b1")
    await stage.has_begun("a1")
    stage.work.delay("account", 60.0)
    held = stage.start("c1", subject="account")
    await asyncio.sleep(0)
    await stage.work.close()
    found = await passed([running, waiting, held])
    assert [type(one) for one in found] == [asyncio.CancelledError, AuthenticationBusy, AuthenticationBusy]
    assert stage.work._running == {}
