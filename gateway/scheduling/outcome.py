"""The outcome of one step of a loop that must not end."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def outcome_of(step: Awaitable[Result]) -> Result | BaseException:
    """Await a step, and return its result, or the exception that it raised.

    A loop that works for as long as its process uses it, so that no defect ends the loop unnoticed: the caller logs the
    exception. A cancellation of the caller cancels the step, and is raised.
    """
    (outcome,) = await asyncio.gather(step, return_exceptions=True)
    return outcome
