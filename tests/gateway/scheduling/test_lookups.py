"""Batched look-ups, shared fairly among callers."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import AuthenticationBusy, StoreDown, UnexpectedFailure
from gateway.scheduling.lookups import Lookups


class Store:
    """Returns the name in capitals, once the test permits it."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[list[str]] = []
        self.answering = asyncio.Event()
        self.asked = asyncio.Event()
        self.down = False
        self.look_up = Lookups(self.ask, **options)

    async def ask(self, names: Sequence[str]) -> list[str]:
        self.batches.append(list(names))
        self.asked.set()
        await self.answering.wait()
        if self.down:
            raise StoreDown("gone") from OSError("cause")
        return [name.upper() for name in names]

    async def with_one_under_way(self) -> asyncio.Future[str]:
        """Start one look-up, so that later ones wait for the next batch."""
        first = asyncio.ensure_future(self.look_up("first", "someone"))
        await self.asked.wait()
        return first


async def test_hundreds_wait_for_one_round_trip() -> None:
    store = Store()
    first = await store.with_one_under_way()
    names = [f"token{number}" for number in range(500)]
    waiting = [asyncio.ensure_future(store.look_up(name, "flood")) for name in names]
    await asyncio.sleep(0)
    store.answering.set()
    assert await asyncio.gather(*waiting) == [name.upper() for name in names]
    assert await first == "FIRST"
    assert store.batches == [["first"], names]


async def test_the_loop_runs_after_each_32_results() -> None:
    store = Store()
    store.answering.set()
    names = [f"token{number}" for number in range(500)]
    waiting = [asyncio.ensure_future(store.look_up(name, "flood")) for name in names]
    done = [0]
    while done[-1] < len(names):
        await asyncio.sleep(0)
        done.append(sum(one.done() for one in waiting))
    assert max(after - before for before, after in pairwise(done)) <= 64


async def test_a_caller_with_one_does_not_wait_for_a_caller_with_many() -> None:
    store = Store(batch_max=2)
    first = await store.with_one_under_way()
    flood = [asyncio.ensure_future(store.look_up(f"f{number}", "flood")) for number in range(10)]
    await asyncio.sleep(0)
    good = asyncio.ensure_future(store.look_up("good", "rightful"))
    await asyncio.sleep(0)
    store.answering.set()
    await asyncio.gather(first, good, *flood)
    assert store.batches[1] == ["f0", "good"]


async def test_beyond_the_bound_the_caller_with_most_names_loses_one() -> None:
    store = Store(waiting_max=3)
    first = await store.with_one_under_way()
    flood = [asyncio.ensure_future(store.look_up(f"f{number}", "flood")) for number in range(4)]
    await asyncio.sleep(0)
    good = asyncio.ensure_future(store.look_up("good", "rightful"))
    await asyncio.sleep(0)
    store.answering.set()
    found = await asyncio.gather(*flood, return_exceptions=True)
    assert found[:2] == ["F0", "F1"]
    assert [type(one) for one in found[2:]] == [AuthenticationBusy] * 2
    assert (await first, await good) == ("FIRST", "GOOD")


async def test_callers_with_the_same_name_share_a_look_up_and_survive_each_other() -> None:
    store = Store()
    callers = [asyncio.ensure_future(store.look_up("same", str(number))) for number in range(5)]
    await store.asked.wait()
    callers[0].cancel()
    store.answering.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == ["SAME"] * 4
    assert store.batches == [["same"]]


async def test_an_unreachable_store_fails_waiting_callers_too_and_is_tried_again() -> None:
    store = Store(batch_max=1)
    store.down = True
    first = await store.with_one_under_way()
    second = asyncio.ensure_future(store.look_up("second", "b"))
    await asyncio.sleep(0)
    store.answering.set()
    found = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(one) for one in found] == [StoreDown] * 2
    assert found[0] is not found[1], "a shared error would collect the frames of all callers"
    assert [type(one.__cause__) for one in found if isinstance(one, StoreDown)] == [OSError] * 2
    assert store.batches == [["first"]]
    store.down = False
    assert await store.look_up("first", "a") == "FIRST"


@pytest.mark.parametrize(("results", "cause"), [(ZeroDivisionError(), ZeroDivisionError), ([], ValueError)])
async def test_an_unexpected_error_is_logged_and_fails_all_waiting_callers(
    results: list[str] | Exception, cause: type[Exception]
) -> None:
    async def broken(_: Sequence[str]) -> list[str]:
        if isinstance(results, Exception):
            raise results
        return results

    look_up = Lookups(broken, batch_max=1)
    for _ in range(2):
        with capture_logs() as logs:
            found = await asyncio.gather(look_up("one", "a"), look_up("two", "b"), return_exceptions=True)
        assert [type(one) for one in found] == [UnexpectedFailure] * 2
        assert [type(one.__cause__) for one in found if isinstance(one, Exception)] == [cause] * 2
        assert [line["event"] for line in logs] == ["lookup_failed"]
