"""Starts the child processes, and reports the result of each target."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tests.fuzz.child import BOARD_BYTES, Board, Found, Order, Outcome

ROOT: Final = Path(__file__).parents[2]
HANG_CPU_S: Final = 20.0
"""A step that uses more CPU time hangs."""
HANG_S: Final = 120.0
"""A step that waits for longer hangs: more than a machine under load keeps a process waiting."""
_LOOK_S: Final = 0.5
_START_S: Final = 60.0


class Plan(NamedTuple):
    """How to fuzz.

    Attributes:
        table: module that holds `TARGETS`.
        seed: of all random decisions.
        inputs: of each target; 0: as many as `seconds` allow.
        seconds: of each target.
        jobs: children at the same time.
        hang_cpu_s: CPU time of the longest step.
        hang_s: longest step, however little CPU time it uses.
        data: one input to repeat instead.
    """

    table: str = "tests.fuzz.targets"
    seed: int = 0
    inputs: int = 0
    seconds: float = 5.0
    jobs: int = 2
    hang_cpu_s: float = HANG_CPU_S
    hang_s: float = HANG_S
    data: bytes | None = None


def fuzz(names: Sequence[str], plan: Plan) -> list[Outcome]:
    """Run targets, a share of them in each child; the outcomes are in the order of the names."""
    return asyncio.run(_fuzz(names, plan))


async def _fuzz(names: Sequence[str], plan: Plan) -> list[Outcome]:
    shares = [names[first :: plan.jobs] for first in range(min(plan.jobs, len(names)))]
    done = await asyncio.gather(*(_run(share, plan) for share in shares))
    outcomes = {outcome.name: outcome for part in done for outcome in part}
    return [outcomes[name] for name in names]


async def _run(names: Sequence[str], plan: Plan) -> list[Outcome]:
    """Targets in one child; in a further one those behind a target that ended it."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(names):
        outcomes += await _child(names[len(outcomes) :], plan)
    return outcomes


async def _child(names: Sequence[str], plan: Plan) -> list[Outcome]:
    with tempfile.NamedTemporaryFile(prefix="fuzz-") as file:
        file.truncate(BOARD_BYTES)
        board = Board(Path(file.name))
        data = None if plan.data is None else plan.data.hex()
        order = Order(
            plan.table, list(names), plan.seed, plan.inputs, plan.seconds, plan.hang_cpu_s, file.name, data
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fuzz.child"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=64 << 20,
            start_new_session=True,
        )
        asked = asyncio.create_task(process.communicate(msgspec.json.encode(order)))
        try:
            hung = await _watch(asked, board, plan)
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        said, _ = await asked
        _end_rest(process.pid)
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in said.splitlines()]
    if len(outcomes) < len(names):
        outcomes.append(_ended(names[len(outcomes)], board, hung, process.returncode or 0))
    return outcomes


async def _watch(asked: asyncio.Task[tuple[bytes, bytes]], board: Board, plan: Plan) -> bool:
    """Wait for a child; True: it does not come on."""
    loop = asyncio.get_running_loop()
    last, since = board.read()[:3], loop.time()
    while not (await asyncio.wait({asked}, timeout=_LOOK_S))[0]:
        now = board.read()[:3]
        if now != last:
            last, since = now, loop.time()
        elif loop.time() - since > (plan.hang_s if now[1] else plan.hang_s + plan.seconds + _START_S):
            return True
    return False


def _end_rest(group: int) -> None:
    """A child that crashed leaves its Redis behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _ended(name: str, board: Board, hung: bool, status: int) -> Outcome:
    _, busy, step, data = board.read()
    if hung or status == -signal.SIGPROF:
        kind, about = "hang", f"step {step} did not end"
    else:
        died = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        kind, about = "crash", f"the process ended with {died} {'in' if busy else 'after'} step {step}"
    return Outcome(name, step, 0, 0.0, 0, [Found(kind, about, data.hex())])


def keep(outcome: Outcome, folder: Path) -> list[tuple[Found, Path]]:
    """Write the failing inputs to files; each with its file."""
    kept = []
    for found in outcome.failures:
        data = bytes.fromhex(found.data)
        digest = hashlib.blake2b(data, digest_size=6).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{outcome.name}-{found.kind}-{digest}.bin"
        path.write_bytes(data)
        kept.append((found, path))
    return kept
