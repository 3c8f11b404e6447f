"""The slow-down of a lane after its provider's 429, as a table.

```
FREE --LIMITED--> PAUSED --TIME_OVER--> RAMPING --TIME_OVER--> FREE
                                        RAMPING --LIMITED----> PAUSED
```

Rules:
- PAUSED begins no request until the provider's Retry-After has passed; a further 429 can only lengthen the pause.
- RAMPING begins few requests at first and more from second to second: Google asks senders to raise their rate from
  zero to its maximum over at least 60 s (providers B3). After `RAMP_S` the limit is above the default quota.
"""

from enum import IntEnum, auto
from typing import Final, NamedTuple

RAMP_S: Final = 60.0
"""Time for which a lane's rate stays limited after a pause."""
RAMP_FIRST_PER_S: Final = 10.0
RAMP_DOUBLING_S: Final = 6.0
"""The rate begins with `RAMP_FIRST_PER_S` and doubles in this time: it is 10,000 a second at the end of `RAMP_S`, which
is FCM's default quota of 600,000 a minute."""


class ThrottleState(IntEnum):
    """Limit on the requests that a lane may begin."""

    FREE = auto()
    PAUSED = auto()
    RAMPING = auto()


class ThrottleEvent(IntEnum):
    """Events that change a throttle."""

    LIMITED = auto()  # the provider answered that the credential sends too much
    TIME_OVER = auto()  # the pause, or the ramp behind it, has ended


TRANSITIONS: Final[dict[tuple[ThrottleState, ThrottleEvent], ThrottleState]] = {
    (ThrottleState.FREE, ThrottleEvent.LIMITED): ThrottleState.PAUSED,
    (ThrottleState.FREE, ThrottleEvent.TIME_OVER): ThrottleState.FREE,
    (ThrottleState.PAUSED, ThrottleEvent.LIMITED): ThrottleState.PAUSED,
    (ThrottleState.PAUSED, ThrottleEvent.TIME_OVER): ThrottleState.RAMPING,
    (ThrottleState.RAMPING, ThrottleEvent.LIMITED): ThrottleState.PAUSED,
    (ThrottleState.RAMPING, ThrottleEvent.TIME_OVER): ThrottleState.FREE,
}


class Throttle(NamedTuple):
    """State of a throttle. Times are monotonic seconds.

    Attributes:
        state: limit on the requests that may begin.
        until_s: the end of the pause or of the ramp.
        tokens: while the rate rises, requests that could begin at `counted_s`.
        counted_s: time at which `tokens` was counted.
    """

    state: ThrottleState = ThrottleState.FREE
    until_s: float = 0.0
    tokens: float = 0.0
    counted_s: float = 0.0

    def after_limit(self, delay_s: float, now_s: float) -> "Throttle":
        """The throttle after a 429 that asks for a pause of `delay_s` seconds."""
        state = TRANSITIONS[self.state, ThrottleEvent.LIMITED]
        paused_until_s = self.until_s if self.state is ThrottleState.PAUSED else 0.0
        return Throttle(state, max(paused_until_s, now_s + delay_s))

    def at(self, now_s: float) -> "Throttle":
        """The throttle at a given time: its pause or its ramp may be over."""
        if self.state is ThrottleState.FREE or now_s < self.until_s:
            return self
        state = TRANSITIONS[self.state, ThrottleEvent.TIME_OVER]
        if state is ThrottleState.RAMPING:
            return Throttle(state, now_s + RAMP_S, 1.0, now_s)
        return FREE

    def counted(self, now_s: float) -> "Throttle":
        """While the rate rises: the same throttle with the tokens at a given time, at most one second's."""
        rate = RAMP_FIRST_PER_S * 2.0 ** ((RAMP_S - (self.until_s - now_s)) / RAMP_DOUBLING_S)
        tokens = min(rate, self.tokens + rate * (now_s - self.counted_s))
        return self._replace(tokens=tokens, counted_s=now_s)

    def spent(self, requests: int) -> "Throttle":
        """While the rate rises: the same throttle after this many requests began."""
        return self._replace(tokens=self.tokens - requests)

    def left_s(self, now_s: float) -> float:
        """Seconds until a pause ends; 0 unless the lane is paused."""
        return max(0.0, self.until_s - now_s) if self.state is ThrottleState.PAUSED else 0.0


FREE: Final = Throttle()
