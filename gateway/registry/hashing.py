"""Threads for password hashing: few, and at a lower priority than the event loops."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

HASHES_AT_ONCE: Final = 2
"""A scrypt hash takes 32 MiB, and a core for a fifth of a second."""
_NICE: Final = 2
"""The event loops have priority, but a busy machine does not delay a login for long."""


def _lower_priority() -> None:
    """Lower this thread's priority. On Linux each thread has its own priority (sched(7)); elsewhere this does
    nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(
                os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE
            )


_threads: Final = ThreadPoolExecutor(HASHES_AT_ONCE, "password-hash", initializer=_lower_priority)
"""A separate executor, since other work in the loop's default executor would wait for passwords."""


async def in_hash_thread(
    work: Callable[Arguments, Result], *args: Arguments.args, **options: Arguments.kwargs
) -> Result:
    """Run the work in one of the threads, once a thread is free."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads, lambda: work(*args, **options))
