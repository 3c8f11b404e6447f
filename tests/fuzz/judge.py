"""One step, and what is wrong with it."""

import ctypes
import gc
import itertools
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from protocols.errors import RhoPushError
from tests.fuzz.target import Step, Target

LEAK_ROUNDS: Final = 16
"""Rounds of repetition. asyncio keeps up to a hundred cancelled timers, which a few rounds do not exceed."""
LEAK_INPUTS: Final = 40
_LEAK_SHARE: Final = 0.5
"""Memory blocks for each step of a round: what grows so in every one of the last rounds is a leak."""
_LEAK_BLOCKS: Final = 20
"""For a round, whatever its steps: its own bookkeeping."""
_ROUND_S: Final = 0.1
"""CPU time of a round."""
_REPETITIONS: Final = 5
_REFERENCE_ROUNDS: Final = 50_000
_REFERENCE_S: Final = 0.003
"""CPU time of so many rounds on the machine for which the limits were chosen."""
RSS_SLACK_BYTES: Final = 64 << 20
"""How much resident memory may grow in the second half: large inputs leave gaps between small objects."""
_STATM: Final = Path("/proc/self/statm")


class Failure(NamedTuple):
    """A fault that a step showed.

    Attributes:
        kind: "exception", "slow", "leak", "memory", "crash" or "hang".
        about: a line for a person.
        data: the input.
        where: tells failures of one kind apart.
    """

    kind: str
    about: str
    data: bytes
    where: str = ""


class Judge:
    """Runs a target's steps.

    Args:
        target: its limits count.
        step: runs one input.
        slowness: how many times the CPU time is needed here and now that the limits are made for.

    Attributes:
        inputs: how many there were.
        refused: how many ended with an error of the tree.
        slowest_us: microseconds of CPU time for a byte, of inputs of at least 256 bytes.
    """

    def __init__(self, target: Target, step: Step, slowness: Callable[[], float] | None = None) -> None:
        self._target = target
        self._step = step
        self._slowness = slowness or measured_slowness
        self.inputs = self.refused = 0
        self.slowest_us = 0.0

    def run(self, data: bytes) -> Failure | None:
        """One input; None: nothing is wrong."""
        self.inputs += 1
        spent_s, failure, refused = self._timed(data)
        self.refused += refused
        if failure is not None:
            return failure
        if len(data) >= 256:
            self.slowest_us = max(self.slowest_us, spent_s * 1e6 / len(data))
        bound_s = self._target.base_s + self._target.byte_s * len(data)
        if spent_s > bound_s:
            # Again: other threads, a collection of garbage and a first import cost no second time. And by the speed
            # that this machine has just then: neighbours take its caches and its clock.
            spent_s = min(self._timed(data)[0] / self._slowness() for _ in range(_REPETITIONS))
        if spent_s > bound_s:
            about = f"{spent_s:.3f} s of CPU time for {len(data)} bytes; at most {bound_s:.3f} s are allowed"
            return Failure("slow", about, data)
        return None

    def _timed(self, data: bytes) -> tuple[float, Failure | None, bool]:
        begun_s = time.thread_time()
        failure, refused = None, False
        try:
            self._step(data)
        except RhoPushError as error:
            refused = True
            _forget(error)
        except Exception as error:  # which one is what fuzzing looks for
            failure = _foreign(error, data)
        return time.thread_time() - begun_s, failure, refused

    def leaks(self, inputs: Sequence[bytes]) -> Failure | None:
        """Repeat some inputs: caches are full after the first rounds, what still grows is kept for ever."""
        if not inputs:
            return None
        steps = self._affordable(inputs)
        counts = []
        for _ in range(LEAK_ROUNDS):
            for data in steps:
                self._timed(data)
            gc.collect()
            counts.append(sys.getallocatedblocks())
        grown = [after - before for before, after in itertools.pairwise(counts[1:])]
        if min(grown) > max(_LEAK_BLOCKS, len(steps) * _LEAK_SHARE):
            about = f"{grown} memory blocks more after each repetition of {len(steps)} steps"
            return Failure("leak", about, inputs[0])
        return None

    def _affordable(self, inputs: Sequence[bytes]) -> list[bytes]:
        """So many of the inputs, repeated, as a round may have: fewer where a step is slow."""
        steps: list[bytes] = []
        begun_s = time.thread_time()
        for data in itertools.cycle(inputs):
            if len(steps) >= LEAK_INPUTS or time.thread_time() - begun_s > _ROUND_S:
                break
            self._timed(data)
            steps.append(data)
        return steps


def measured_slowness() -> float:
    """How many times the CPU time is needed here and now that the limits are made for; at least 1."""
    begun_s = time.thread_time()
    for number in range(_REFERENCE_ROUNDS):
        str(number)
    return max(1.0, (time.thread_time() - begun_s) / _REFERENCE_S)


def _forget(error: BaseException) -> None:
    error.__traceback__ = None


def _foreign(error: Exception, data: bytes) -> Failure:
    frames = traceback.extract_tb(error.__traceback__)
    last = [frame for frame in frames if "/tests/fuzz/" not in frame.filename] or frames
    ours = [frame for frame in last if "site-packages" not in frame.filename] or last
    where = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
    about = f"{where}: {str(error)[:300]}"
    _forget(error)
    return Failure("exception", about, data, where)


def resident_bytes() -> int:
    """Resident memory of this process, without what the allocator could give back; 0 where it cannot be read."""
    if not _STATM.exists():
        return 0
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(half_bytes: int, end_bytes: int, data: bytes) -> Failure | None:
    """Compare the resident memory after the first half of a run with that at its end."""
    grown = end_bytes - half_bytes
    if half_bytes and grown > RSS_SLACK_BYTES:
        return Failure("memory", f"{grown >> 20} MiB more resident memory at the end than at half-time", data)
    return None
