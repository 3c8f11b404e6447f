"""Resque from the side of its other users, in Ruby: queueing jobs, and reading the state of workers."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.requirements import need_program

PROGRAM = Path(__file__).with_suffix(".rb")
PING_JOB = "Rhoconnect::PingJob"


async def _ruby(socket: Path, word: str, given: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *(need_program("ruby", "ruby"), str(PROGRAM), str(socket), word),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(given.encode())
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def enqueue(
    socket: Path, params: Iterable[dict[str, Any]], *, klass: str = PING_JOB, queue: str = "ping"
) -> None:
    """Queue jobs as the resque gem does."""
    await _ruby(socket, "enqueue", "".join(json.dumps([queue, klass, one]) + "\n" for one in params))


async def overview(socket: Path) -> Any:
    """The data of resque-web: workers, failures, counters, queues."""
    return json.loads(await _ruby(socket, "overview"))
