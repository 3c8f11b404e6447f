"""Verdicts that Redis has not recorded yet, whose deliveries a kill of the worker would repeat.

The worker writes its verdicts in passes, one after another (`gateway.fanout.in_flight`). A verdict belongs to the
pass that begins after it. If a pass takes longer than `UNSAVED_MAX_S`, no lane of the worker begins a request
until the pass has ended: otherwise a kill would repeat everything that the worker delivered while Redis did not
answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from gateway.metrics import Metrics

UNSAVED_MAX_S: Final = 1.0
"""Lanes begin no request while verdicts that are older than this are not recorded."""
VERDICT_WRITES: Final = "verdict_writes"
CANCELLATION_READS: Final = "cancellation_reads"
"""Reasons of `Metrics.lanes_stalled`."""
_log = structlog.get_logger("unsaved")


class UnsavedVerdicts:
    """Progress of the recording of verdicts, shared by all lanes of a worker.

    Args:
        metrics: exports why lanes may begin no request.

    Attributes:
        stalled: whether no lane may begin a request: verdicts that are older than `UNSAVED_MAX_S` are not recorded, or
            `hold` was called.
        number: number of the next pass, which records the present verdicts.
        recorded: the passes below this number have ended.
        on_resumed: called after lanes may begin requests again.
        fresh_until_s: monotonic time after which no lane may begin a request, because the latest reading of the
            cancelled pings is too old by then. After a time in which the process did not run, its lanes have this limit
            before the timer that sets `stalled`.
    """

    __slots__ = (
        "_held",
        "_late",
        "_metrics",
        "_timer",
        "fresh_until_s",
        "number",
        "on_resumed",
        "recorded",
        "stalled",
    )

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = Metrics() if metrics is None else metrics
        self.stalled = False
        self.fresh_until_s = float("inf")
        self.number = 0
        self.recorded = 0
        self.on_resumed: Callable[[], None] = _nothing
        self._late = False
        self._held = False
        self._timer: asyncio.TimerHandle | None = None
        self._export()

    def hold(self, *, held: bool) -> None:
        """Let no lane begin a request, since the cancelled pings cannot be read, until this is called with False."""
        self._held = held
        self._update()

    def extend(self, fresh_until_s: float) -> None:
        """Let lanes begin requests until this time; see the attribute."""
        was_over = time.monotonic() > self.fresh_until_s
        self.fresh_until_s = fresh_until_s
        if was_over and not self.stalled:
            self.on_resumed()

    def begin_pass(self) -> None:
        """Begin to write the verdicts up to now. The previous pass has ended."""
        self.number += 1
        self._timer = asyncio.get_running_loop().call_later(UNSAVED_MAX_S, self._stall)

    def end_pass(self) -> None:
        """Record that the verdicts of the latest pass are stored."""
        self.recorded = self.number
        self.close()
        if self._late:
            self._late = False
            _log.info("verdict_writes_resumed")
            self._update()

    def close(self) -> None:
        """Stop monitoring the pass."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _update(self) -> None:
        before, self.stalled = self.stalled, self._late or self._held
        self._export()
        if before and not self.stalled:
            self.on_resumed()

    def _export(self) -> None:
        self._metrics.lanes_stalled(VERDICT_WRITES).set(int(self._late))
        self._metrics.lanes_stalled(CANCELLATION_READS).set(int(self._held))

    def _stall(self) -> None:
        self._late = True
        self._update()
        _log.warning("verdict_writes_stalled", older_than_s=UNSAVED_MAX_S)


class UnsavedCount:
    """Number of unrecorded verdicts of one lane, by the pass that records them."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()

    def add(self, verdicts: int, unsaved: UnsavedVerdicts) -> None:
        """Count verdicts that the lane has just given."""
        counts = self._counts
        if counts and counts[-1][0] == unsaved.number:
            counts[-1][1] += verdicts
        else:
            self.total(unsaved)  # bounds the number of passes kept, however rarely `total` is called
            counts.append([unsaved.number, verdicts])

    def total(self, unsaved: UnsavedVerdicts) -> int:
        """Number of verdicts in passes that have not ended."""
        counts = self._counts
        while counts and counts[0][0] < unsaved.recorded:
            counts.popleft()
        return sum(verdicts for _, verdicts in counts)


def _nothing() -> None:
    pass
