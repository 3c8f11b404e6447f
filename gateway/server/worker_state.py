"""What a supervisor decides about a worker, as plain values and rules: no process is touched here.

```
 WAITING --due--> STARTING --ready--> SERVING --SIGTERM--> (drain)
    ^                 |  too slow        |  no beat
    +----- ended -----+------ frozen ----+
```
"""

import enum
from typing import Final

START_BUDGET_S: Final = 60.0
"""Longest time from the start of a process to its open doors."""

UNRESPONSIVE_AFTER_S: Final = 10.0
"""A worker whose loop has not turned for so long is killed: it holds connections that nobody serves."""

STABLE_AFTER_S: Final = 30.0
"""A worker that has served so long starts with a clean slate when it falls."""

_BACKOFF_S: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits before the next start, by the number of falls in a row."""

FIRST_STARTS_MAX: Final = 5
"""A gateway whose worker falls so often before it was ever ready gives up."""


class WorkerPhase(enum.Enum):
    """Where a worker is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    SERVING = "serving"


class WorkerState:
    """One worker's place. Times are of a clock that only goes forward, in seconds.

    Attributes:
        number: from 0.
        state: see the module.
        failures: ends in a row, since it last served steadily.
        ever_ready: whether a worker of this slot has served at all.
    """

    def __init__(self, number: int, *, unresponsive_after_s: float = UNRESPONSIVE_AFTER_S) -> None:
        self.number = number
        self.state = WorkerPhase.WAITING
        self.failures = 0
        self.ever_ready = False
        self._unresponsive_after_s = unresponsive_after_s
        self._since_s = 0.0  # of the state
        self._heartbeat_s = 0.0
        self._due_s = 0.0

    def due(self, now_s: float) -> bool:
        """Whether a process is to be started now."""
        return self.state is WorkerPhase.WAITING and now_s >= self._due_s

    def started(self, now_s: float) -> None:
        """A process was started."""
        self.state, self._since_s, self._heartbeat_s = WorkerPhase.STARTING, now_s, now_s

    def ready(self, now_s: float) -> None:
        """All its doors are open."""
        self.state, self.ever_ready, self._since_s, self._heartbeat_s = (
            WorkerPhase.SERVING,
            True,
            now_s,
            now_s,
        )

    def heartbeat(self, now_s: float) -> None:
        """Its loop turns."""
        self._heartbeat_s = now_s

    def ended(self, now_s: float) -> float:
        """Its process is gone; seconds until the next one is due."""
        steady = self.state is WorkerPhase.SERVING and now_s - self._since_s >= STABLE_AFTER_S
        self.failures = 1 if steady else self.failures + 1
        wait_s = _BACKOFF_S[min(self.failures, len(_BACKOFF_S)) - 1]
        self.state, self._since_s, self._due_s = WorkerPhase.WAITING, now_s, now_s + wait_s
        return wait_s

    def frozen(self, now_s: float) -> bool:
        """Whether its process is to be killed: it lives, and does nothing."""
        if self.state is WorkerPhase.SERVING:
            return now_s - self._heartbeat_s > self._unresponsive_after_s
        return self.state is WorkerPhase.STARTING and now_s - self._since_s > START_BUDGET_S

    @property
    def gave_up(self) -> bool:
        """Whether to give up: it has fallen again and again and was never ready."""
        return not self.ever_ready and self.failures >= FIRST_STARTS_MAX
