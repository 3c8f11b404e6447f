"""Work in the background that no caller awaits: it must not end because of an error.

asyncio reports the error of such a task at the earliest when the task is deleted. Until then, a worker without one of
its loops looks healthy.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from gateway.errors import StoreDown
from gateway.scheduling.outcome import outcome_of

_log = structlog.get_logger("background")

Result = TypeVar("Result")

RESTART_S: Final = 1.0
"""Pause before work is started again after an error."""


def _ignore(_: BaseException) -> None:
    """Take no further action after an error."""


def run_in_background(
    work: Callable[[], Awaitable[Result]],
    name: str,
    *,
    restart_s: float | None = None,
    on_error: Callable[[BaseException], None] = _ignore,
) -> asyncio.Task[Result]:
    """Start a task of this name that runs `keep_running`."""
    return asyncio.create_task(keep_running(work, name, restart_s=restart_s, on_error=on_error), name=name)


async def keep_running(
    work: Callable[[], Awaitable[Result]],
    name: str,
    *,
    restart_s: float | None = None,
    on_error: Callable[[BaseException], None] = _ignore,
) -> Result:
    """Run work until it returns, and start it again after every error.

    An unavailable Redis is logged at level debug, any other error as `background_task_failed` with its traceback. A
    cancellation of the caller cancels the work, and is raised.

    Args:
        work: usually a loop without end; called again after an error.
        name: its name in the log.
        restart_s: pause before it is started again; None: `RESTART_S`.
        on_error: called with every error, before the pause.

    Returns:
        The result of the work, once it returns.
    """
    while True:
        outcome = await outcome_of(work())
        if not isinstance(outcome, BaseException):
            return outcome
        if isinstance(outcome, StoreDown):
            _log.debug("redis_unavailable", task=name, error=outcome.message)
        else:
            _log.error("background_task_failed", task=name, exc_info=outcome)
        on_error(outcome)
        await asyncio.sleep(RESTART_S if restart_s is None else restart_s)
