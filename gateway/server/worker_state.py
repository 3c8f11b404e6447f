"""The supervisor's state of a worker: plain values and rules, without access to the process.

```
 WAITING --due--> STARTING --ready--> SERVING --SIGTERM--> (drain)
    ^                 |  too slow        |  no beat
    +----- ended -----+------ frozen ----+
```
"""

import enum
from typing import Final

START_BUDGET_S: Final = 60.0
"""Longest time from the start of a process to its readiness."""

UNRESPONSIVE_AFTER_S: Final = 10.0
"""A worker without a heartbeat for this long is killed: it holds connections that are not served."""

STABLE_AFTER_S: Final = 30.0
"""After this time of serving, a worker's earlier failures no longer count."""

_BACKOFF_S: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Delay of the next start, by the number of successive failures."""

FIRST_STARTS_MAX: Final = 5
"""Number of failures after which a gateway whose worker was never ready gives up."""


class WorkerPhase(enum.Enum):
    """Phase of a worker's life cycle."""

    WAITING = "waiting"
    STARTING = "starting"
    SERVING = "serving"


class WorkerState:
    """The state of one worker slot. Times are monotonic seconds.

    Attributes:
        number: number of the slot, from 0.
        state: the current phase; see the module.
        failures: successive failures since the slot last served for `STABLE_AFTER_S`.
        ever_ready: whether a worker of this slot has ever been ready.
    """

    def __init__(self, number: int, *, unresponsive_after_s: float = UNRESPONSIVE_AFTER_S) -> None:
        self.number = number
        self.state = WorkerPhase.WAITING
        self.failures = 0
        self.ever_ready = False
        self._unresponsive_after_s = unresponsive_after_s
        self._since_s = 0.0  # start of the current phase
        self._heartbeat_s = 0.0
        self._due_s = 0.0

    def due(self, now_s: float) -> bool:
        """Return whether a process must be started now."""
        return self.state is WorkerPhase.WAITING and now_s >= self._due_s

    def started(self, now_s: float) -> None:
        """Record the start of a process."""
        self.state, self._since_s, self._heartbeat_s = WorkerPhase.STARTING, now_s, now_s

    def ready(self, now_s: float) -> None:
        """Record that all ingresses of the worker are open."""
        self.state, self.ever_ready, self._since_s, self._heartbeat_s = (
            WorkerPhase.SERVING,
            True,
            now_s,
            now_s,
        )

    def heartbeat(self, now_s: float) -> None:
        """Record a heartbeat."""
        self._heartbeat_s = now_s

    def ended(self, now_s: float) -> float:
        """Record the end of the process; returns the seconds until the next start."""
        steady = self.state is WorkerPhase.SERVING and now_s - self._since_s >= STABLE_AFTER_S
        self.failures = 1 if steady else self.failures + 1
        wait_s = _BACKOFF_S[min(self.failures, len(_BACKOFF_S)) - 1]
        self.state, self._since_s, self._due_s = WorkerPhase.WAITING, now_s, now_s + wait_s
        return wait_s

    def frozen(self, now_s: float) -> bool:
        """Return whether the process is unresponsive and must be killed."""
        if self.state is WorkerPhase.SERVING:
            return now_s - self._heartbeat_s > self._unresponsive_after_s
        return self.state is WorkerPhase.STARTING and now_s - self._since_s > START_BUDGET_S

    @property
    def gave_up(self) -> bool:
        """Whether the slot failed `FIRST_STARTS_MAX` times and was never ready."""
        return not self.ever_ready and self.failures >= FIRST_STARTS_MAX
