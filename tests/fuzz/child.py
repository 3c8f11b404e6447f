"""Targets in a process of their own: its parent sees a crash or a hang, and by the board at which input."""

import gc
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from tests.fuzz import judge
from tests.fuzz.judge import Failure, Judge
from tests.fuzz.mutation import inputs
from tests.fuzz.target import Target

BOARD_BYTES: Final = (4 << 20) + 64
ADDRESS_SPACE_BYTES: Final = 3 << 30
"""A step that wants more gets MemoryError, which is a failure."""
FAILURES_MAX: Final = 5
_FORM: Final = struct.Struct("<IIQI")
_KEPT_EVERY: Final = 7
_NOBODY: Final = 1
"""Process that adopts a child whose parent ended."""


class Order(msgspec.Struct):
    """The orders of a child process.

    Attributes:
        table: module that holds `TARGETS`.
        names: the targets, one after the other.
        seed: of all random decisions.
        inputs: of each target; 0: as many as `seconds` allow.
        seconds: of each target.
        hang_cpu_s: CPU time after which a step ends the child, by SIGPROF.
        board: file in which the child notes what it is doing.
        data: hex; one input to repeat instead.
    """

    table: str
    names: list[str]
    seed: int
    inputs: int
    seconds: float
    hang_cpu_s: float
    board: str
    data: str | None = None


class Found(msgspec.Struct):
    """One failure."""

    kind: str
    about: str
    data: str


class Outcome(msgspec.Struct):
    """The result of one target."""

    name: str
    inputs: int
    refused: int
    slowest_us: float
    memory_mib: int
    failures: list[Found]


class Board:
    """The present activity of a child, in a file that outlives it: target, step, whether the step runs, and the
    input."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), BOARD_BYTES)

    def begin(self, place: int, step: int, data: bytes) -> None:
        """A step begins."""
        _FORM.pack_into(self._map, 0, place, 1, step, len(data))
        self._map[_FORM.size : _FORM.size + len(data)] = data

    def rest(self, place: int, step: int) -> None:
        """No step is under way."""
        _FORM.pack_into(self._map, 0, place, 0, step, 0)

    def read(self) -> tuple[int, bool, int, bytes]:
        """Target's place, whether a step is under way, its number, its input."""
        place, busy, step, length = _FORM.unpack_from(self._map, 0)
        return place, bool(busy), step, bytes(self._map[_FORM.size : _FORM.size + length])


def fuzz(target: Target, order: Order, board: Board, place: int) -> Outcome:
    """Run one target."""
    made = inputs(target, order.seed)
    failures: dict[str, Failure] = {}
    kept: list[bytes] = []
    with target.open() as step:
        runs = Judge(target, step)
        gc.collect()
        gc.freeze()  # what stands so far is not looked at by each further collection
        half_bytes, data = 0, b""
        begun = time.monotonic()
        while len(failures) < FAILURES_MAX and not _over(order, runs.inputs, begun, target.weight):
            if os.getppid() == _NOBODY:
                sys.exit("the parent ended")
            data = next(made)
            with _under_way(order, board, place, runs.inputs, data):
                failure = runs.run(data)
            if failure is not None:
                failures.setdefault(f"{failure.kind} {failure.where}", failure)
            elif runs.inputs % _KEPT_EVERY == 0 and len(kept) < judge.LEAK_INPUTS and len(data) < 4_096:
                kept.append(data)
            if not half_bytes and _over(order, runs.inputs, begun, target.weight / 2):
                half_bytes = judge.resident_bytes()
        end_bytes = judge.resident_bytes()
        with _under_way(order, board, place, runs.inputs, kept[0] if kept else b""):
            leak = runs.leaks(kept)
        for failure in (judge.memory(half_bytes, end_bytes, data), leak):
            if failure is not None and not failures:
                failures[failure.kind] = failure
    found = [Found(one.kind, one.about, one.data.hex()) for one in failures.values()]
    return Outcome(target.name, runs.inputs, runs.refused, runs.slowest_us, end_bytes >> 20, found)


@contextmanager
def _under_way(order: Order, board: Board, place: int, step: int, data: bytes) -> Iterator[None]:
    """Note a step on the board; end the process where the step uses more CPU time than a step may."""
    board.begin(place, step, data)
    signal.setitimer(signal.ITIMER_PROF, order.hang_cpu_s)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    board.rest(place, step)


def _over(order: Order, inputs: int, begun: float, share: float) -> bool:
    if order.inputs and inputs >= order.inputs * min(share, 1.0):
        return True
    return time.monotonic() - begun >= order.seconds * share


def _repeat(target: Target, data: bytes, order: Order, board: Board) -> Outcome:
    with target.open() as step:
        runs = Judge(target, step)
        with _under_way(order, board, 0, 0, data):
            failure = runs.run(data) or runs.leaks([data] * judge.LEAK_INPUTS)
    found = [] if failure is None else [Found(failure.kind, failure.about, data.hex())]
    return Outcome(target.name, 1, runs.refused, runs.slowest_us, judge.resident_bytes() >> 20, found)


def table(module: str) -> Mapping[str, Target]:
    """The targets of a table, by name."""
    targets: Any = import_module(module)
    return {target.name: target for target in targets.TARGETS}


def _silent(*_: Any) -> Any:
    raise structlog.DropEvent


def main() -> None:
    """Do what the order on stdin says; an `Outcome` on stdout for each target."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    structlog.configure(processors=[_silent])
    targets, board = table(order.table), Board(Path(order.board))
    for place, name in enumerate(order.names):
        if order.data is None:
            outcome = fuzz(targets[name], order, board, place)
        else:
            outcome = _repeat(targets[name], bytes.fromhex(order.data), order, board)
        sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
