"""The circuit breaker of a lane, as a table: it stops a lane whose credential the provider refused.

```
CLOSED --REFUSED--> OPEN --TIME_OVER, CORRECTED--> HALF_OPEN --ACCEPTED--> CLOSED
                                                   HALF_OPEN --REFUSED---> OPEN
```

Rules:
- OPEN begins no request. Each further refusal restarts its time.
- HALF_OPEN has one request at a time in flight, which tests the credential.
- RESET closes the breaker from any state; the next refusal opens it again.
- ACCEPTED does not close an OPEN breaker: such a response belongs to a request that was sent before the refusal.
"""

from enum import IntEnum, auto
from typing import Final, NamedTuple

BREAKER_OPEN_S: Final = 30.0
"""Time for which the breaker stays open before one delivery may test the credential."""


class BreakerState(IntEnum):
    """Whether a lane may begin requests."""

    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


class BreakerEvent(IntEnum):
    """Events that change a breaker."""

    REFUSED = auto()  # the provider refused the credential
    ACCEPTED = auto()  # the provider accepted the credential
    TIME_OVER = auto()  # the breaker was open for `BREAKER_OPEN_S`
    CORRECTED = auto()  # the credential gives another provider token than the refused one
    RESET = auto()  # an operator asked for it


TRANSITIONS: Final[dict[tuple[BreakerState, BreakerEvent], BreakerState]] = {
    (BreakerState.CLOSED, BreakerEvent.REFUSED): BreakerState.OPEN,
    (BreakerState.CLOSED, BreakerEvent.ACCEPTED): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.TIME_OVER): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.CORRECTED): BreakerState.CLOSED,
    (BreakerState.CLOSED, BreakerEvent.RESET): BreakerState.CLOSED,
    (BreakerState.OPEN, BreakerEvent.REFUSED): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.ACCEPTED): BreakerState.OPEN,
    (BreakerState.OPEN, BreakerEvent.TIME_OVER): BreakerState.HALF_OPEN,
    (BreakerState.OPEN, BreakerEvent.CORRECTED): BreakerState.HALF_OPEN,
    (BreakerState.OPEN, BreakerEvent.RESET): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, BreakerEvent.REFUSED): BreakerState.OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.ACCEPTED): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, BreakerEvent.TIME_OVER): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.CORRECTED): BreakerState.HALF_OPEN,
    (BreakerState.HALF_OPEN, BreakerEvent.RESET): BreakerState.CLOSED,
}


class CircuitBreaker(NamedTuple):
    """State of a breaker. Times are monotonic seconds.

    Attributes:
        state: whether requests may begin.
        until_s: time at which an open breaker lets one delivery test the credential.
        reason: the provider's reason for its last refusal; "" before the first one.
    """

    state: BreakerState = BreakerState.CLOSED
    until_s: float = 0.0
    reason: str = ""

    def after(self, event: BreakerEvent) -> "CircuitBreaker":
        """The breaker after an event other than a refusal."""
        return self._replace(state=TRANSITIONS[self.state, event])

    def after_refusal(self, reason: str, now_s: float) -> "CircuitBreaker":
        """The breaker after the provider refused the credential."""
        state = TRANSITIONS[self.state, BreakerEvent.REFUSED]
        return CircuitBreaker(state, now_s + BREAKER_OPEN_S, reason)

    def at(self, now_s: float) -> "CircuitBreaker":
        """The breaker at a given time: an open breaker becomes half-open after its time."""
        if self.state is BreakerState.OPEN and now_s >= self.until_s:
            return self.after(BreakerEvent.TIME_OVER)
        return self


CLOSED_BREAKER: Final = CircuitBreaker()
