"""Clocks of a process: the time that all gateways on one Redis share, and the time for provider tokens.

| clock | used for | effect of a jump of the local wall clock |
| --- | --- | --- |
| `time.monotonic` | durations within the process: deadlines, back-off, leases in hand, caches | none |
| `SHARED_CLOCK` | every timestamp that is stored in Redis or compared with a stored one | none |
| `ProviderClock` | `iat` of provider tokens | none |

The shared clock is Redis' `TIME`, extrapolated between two readings by the monotonic clock. Gateways on different
hosts therefore agree, independently of their own clocks. Only a jump of Redis' own clock moves it. The next reading,
within a fraction of a second, detects such a jump, and `corrected` translates the timestamps that were taken before
it. Two opposite jumps between two readings are not detected: a timestamp that another process stored between them
stays wrong.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

_log = structlog.get_logger("clock")

SKEW_WARNING_S: Final = 5.0
"""Difference between the local clock and Redis' clock at which the operator is warned; NTP keeps hosts within 0.1 s.
"""
JUMP_MS: Final = 1_000
"""A change of Redis' clock against the monotonic one by less than this is drift, and is followed without a log line.
"""
SKEW_TOLERANCE_MS: Final = 5_000
"""Longest time for which another process may still use Redis' clock as it was before a jump."""
SUSPECT_S: Final = 30.0
"""A smaller difference between clocks is not considered the cause of a refused token, since providers allow some
minutes."""


class SharedClock:
    """Redis' `TIME`, extrapolated between two readings. Before the first reading it is the local wall clock.

    Args:
        steady: monotonic nanoseconds.
        wall: local wall clock, epoch nanoseconds.
    """

    __slots__ = (
        "_jump_ms",
        "_jumped_at_ms",
        "_offset_ms",
        "_read",
        "_steady",
        "_until_ms",
        "_wall",
        "_warned",
    )

    def __init__(
        self, steady: Callable[[], int] = time.monotonic_ns, wall: Callable[[], int] = time.time_ns
    ) -> None:
        self._steady = steady
        self._wall = wall
        self._offset_ms = wall() // 1_000_000 - steady() // 1_000_000
        self._read = False
        self._jumped_at_ms: int | None = None
        self._jump_ms = 0
        self._until_ms = 0
        self._warned: float | None = None

    def now_ms(self) -> int:
        """Epoch milliseconds by the shared clock."""
        return self._steady() // 1_000_000 + self._offset_ms

    def now_s(self) -> float:
        """Epoch seconds by the shared clock."""
        return self.now_ms() / 1000

    def steady_ms(self) -> int:
        """Milliseconds that never jump; only meaningful within this process."""
        return self._steady() // 1_000_000

    @property
    def stable_s(self) -> float:
        """Seconds since the last jump of Redis' clock; infinite if it never jumped."""
        if self._jumped_at_ms is None:
            return float("inf")
        return (self.steady_ms() - self._jumped_at_ms) / 1000

    @property
    def skew_s(self) -> float:
        """Seconds by which the local wall clock is ahead of the shared clock."""
        return self._wall() / 1e9 - self.now_s()

    def record_reading(self, sent_steady_ms: int, redis_ms: int) -> None:
        """Record a reading of Redis' `TIME`.

        Redis reads its clock at some instant between request and reply, so each reading bounds the offset on both
        sides. The offset moves only if it lies outside these bounds, so a slow reply never spoils a good estimate.

        Args:
            sent_steady_ms: `steady_ms` when the request was sent.
            redis_ms: the reply.
        """
        low, high = redis_ms - self.steady_ms(), redis_ms - sent_steady_ms
        before = self._offset_ms
        self._offset_ms = min(max(before, low), high) if self._read else (low + high) // 2
        moved_ms = self._offset_ms - before
        if self._read and abs(moved_ms) > JUMP_MS:
            self._jumped(moved_ms)
        self._read = True

    def corrected(self, instant_ms: int) -> int:
        """Translate a timestamp that was stored before the last jump of Redis' clock.

        A timestamp in the future was taken from a clock that was ahead: it counts as now. A timestamp before a jump
        forward moves with the clock, so that the jump ages no record. A timestamp that is translated and stored
        again may move again, but never beyond the jump. A process that was started after a jump forward cannot
        recognise the timestamps before it and leaves them unchanged.
        """
        if 0 < instant_ms <= self._until_ms:
            instant_ms += self._jump_ms
        return min(instant_ms, self.now_ms())

    def seconds_since(self, instants_ms: Sequence[int]) -> list[float]:
        """The age of stored timestamps in seconds; never negative."""
        now_ms = self.now_ms()
        if self._jumped_at_ms is not None:
            instants_ms = [self.corrected(instant_ms) for instant_ms in instants_ms]
        return [(now_ms - at_ms if at_ms < now_ms else 0) / 1000 for at_ms in instants_ms]

    def warn_of_skew(self) -> None:
        """Log once when the difference between the local clock and Redis' clock reaches `SKEW_WARNING_S`, and once
        when it no longer does."""
        skew_s = round(self.skew_s, 1)
        if abs(skew_s) < SKEW_WARNING_S:
            if self._warned is not None:
                _log.info("clock_skew_ended", local_ahead_s=skew_s)
            self._warned = None
        elif self._read and (self._warned is None or abs(skew_s - self._warned) > SKEW_WARNING_S):
            self._warned = skew_s
            _log.warning(
                "clock_skew_detected",
                local_ahead_s=skew_s,
                effect="schedules and tokens follow the clock of Redis",
            )

    def _jumped(self, moved_ms: int) -> None:
        now_ms = self.now_ms()
        self._jump_ms = self._until_ms = 0  # timestamps from before a jump back are now in the future
        if moved_ms > SKEW_TOLERANCE_MS:
            self._jump_ms, self._until_ms = moved_ms, now_ms - moved_ms + SKEW_TOLERANCE_MS
        self._jumped_at_ms = self.steady_ms()
        _log.warning("redis_clock_jumped", seconds=round(moved_ms / 1000, 1))


SHARED_CLOCK: Final = SharedClock()
"""The shared clock of this process: that of the queue's Redis."""


class ProviderClock:
    """The time by which the tokens of one credential are made.

    It starts with the shared clock's time and continues by the monotonic clock, so that no jump changes a token that
    the provider accepts. When the provider refuses a token, the time follows the first clock that disagrees with it:
    the `Date` of the refusal, else the shared clock, else the local one.

    Args:
        name: the provider, for the log ("apns", "fcm").
        shared: the shared clock.
        wall: local wall clock, epoch seconds.
    """

    def __init__(
        self, name: str, shared: SharedClock = SHARED_CLOCK, wall: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._shared = shared
        self._wall = wall
        self._ahead_s: float | None = None
        """Offset from the monotonic clock; None before the first use."""
        self._refused_by: tuple[float, float] | None = None

    def now_s(self) -> float:
        """Epoch seconds."""
        if self._ahead_s is None:
            self._ahead_s, _ = self._clocks()
        return self._shared.steady_ms() / 1000 + self._ahead_s

    def refused(self, date_s: float | None) -> bool:
        """Choose the clock for the next token after a refusal.

        Args:
            date_s: the provider's clock, epoch seconds; None: its response had no `Date`.

        Returns:
            Whether another clock disagrees with the present time and is used from now on.
        """
        used_s = self.now_s() - self._shared.steady_ms() / 1000
        shared_s, local_s = self._refused_by = self._clocks()
        known = self._refused_by if date_s is None else (date_s - self._shared.steady_ms() / 1000,)
        other_s = next((one for one in known if abs(one - used_s) > SUSPECT_S), None)
        if other_s is None:
            return False
        self._ahead_s = other_s
        _log.warning(
            "clock_skew_suspected",
            provider=self._name,
            refused_ahead_s=round(used_s - other_s, 1),
            local_ahead_of_redis_s=round(local_s - shared_s, 1),
        )
        return True

    def corrected(self) -> bool:
        """Whether the shared or the local clock was set since the last refusal; if so, it is used from now on."""
        if self._refused_by is None:
            return False
        clocks = self._clocks()
        changed = (
            now for now, then in zip(clocks, self._refused_by, strict=True) if abs(now - then) > SUSPECT_S
        )
        set_s = next(changed, None)
        if set_s is None:
            return False
        self._ahead_s, self._refused_by = set_s, clocks
        return True

    def _clocks(self) -> tuple[float, float]:
        """Offsets of the shared and of the local clock from the monotonic one."""
        steady_s = self._shared.steady_ms() / 1000
        return self._shared.now_s() - steady_s, self._wall() - steady_s
