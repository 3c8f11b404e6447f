"""Steps of loops that must not end."""

import asyncio

import pytest

from gateway.scheduling.outcome import outcome_of


async def returned() -> int:
    return 7


async def raised(error: BaseException) -> int:
    raise error


async def test_the_outcome_of_a_step_is_its_result() -> None:
    assert await outcome_of(returned()) == 7


@pytest.mark.parametrize("error", [RuntimeError("a defect"), asyncio.CancelledError()], ids=repr)
async def test_an_exception_of_a_step_is_returned(error: BaseException) -> None:
    assert type(await outcome_of(raised(error))) is type(error)


async def test_a_cancellation_of_the_caller_cancels_the_step_and_is_raised() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def step() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(outcome_of(step()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()
