"""When to open a connection, and how long to wait: decisions without a loop or a socket."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

# The first success can come before the SETTINGS that it brings about (APNs lifts its limit of 1 after the
# first authenticated request), so one is not yet a sign that a connection's limit is its real one. Errors are
# none at all.
PROVEN: Final = 2


class ConnectionFacts(NamedTuple):
    """What the decision looks at, for one connection that takes requests.

    Attributes:
        full: no stream is free, or its transport's buffer is.
        successes: requests accepted so far (2xx).
        throttled: the peer allows fewer streams than it once did.
    """

    full: bool
    successes: int
    throttled: bool


def wants_another(waiting: int, links: Iterable[ConnectionFacts], connections_max: int) -> bool:
    """Whether to open one more connection.

    The first as soon as something waits. Another only when all are full, have accepted requests, and none
    of them has had its limit lowered: APNs answers errors with a lower limit, and more connections are no
    answer to that.

    Args:
        waiting: requests that could go out now.
        links: the connections that take requests.
        connections_max: never more than this.
    """
    if waiting <= 0:
        return False
    count = 0
    for link in links:
        count += 1
        if not link.full or link.successes < PROVEN or link.throttled:
            return False
    return count < connections_max


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next attempt to connect.

    Failures double the wait from `first_s` up to `most_s`, and each wait is shortened by up to half at
    random, so that gateways do not come back in step. Apple takes rapid opening and closing for an attack:
    connections that worked but lived less than `brief_s` count too, after `brief_free` of them.

    Attributes:
        jitter: gives a number in [0, 1).
    """

    jitter: Callable[[], float]
    first_s: float = 0.5
    most_s: float = 60.0
    brief_s: float = 5.0
    brief_free: int = 3
    _failures: int = 0
    _briefs: int = 0
    _ready_s: float = 0.0

    def failed(self, now_s: float) -> None:
        """An attempt failed, or a connection ended without one success."""
        self._failures += 1
        self._delay(self._failures, now_s)

    def ended(self, successes: int, lived_s: float, now_s: float) -> None:
        """A connection ended.

        Args:
            successes: requests it accepted.
            lived_s: from its opening to its end.
            now_s: the clock's reading.
        """
        if not successes:
            self.failed(now_s)
            return
        self._failures = 0
        self._briefs = self._briefs + 1 if lived_s < self.brief_s else 0
        if self._briefs > self.brief_free:
            self._delay(self._briefs - self.brief_free, now_s)

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next attempt may be made; 0 if now."""
        return max(0.0, self._ready_s - now_s)

    def _delay(self, count: int, now_s: float) -> None:
        full_s = min(self.most_s, self.first_s * 2.0 ** min(count - 1, 30))
        self._ready_s = now_s + full_s * (1 - self.jitter() / 2)
