"""When to open a connection, and how long to wait before: decisions without a loop or a socket."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

PROVEN: Final = 2
"""The first success can arrive before the SETTINGS that it causes (APNs raises its limit of 1 after the first
authenticated request), so one success does not prove that a connection's limit is final. Errors prove nothing."""


class ConnectionFacts(NamedTuple):
    """The facts about one usable connection on which the decision depends.

    Attributes:
        full: whether no stream is free, or its transport's buffer is full.
        successes: requests accepted so far (2xx).
        throttled: whether the peer allows fewer streams than before.
    """

    full: bool
    successes: int
    throttled: bool


def wants_another(waiting: int, links: Iterable[ConnectionFacts], connections_max: int) -> bool:
    """Whether to open one more connection.

    The first one is opened as soon as a request waits. Another is opened only if all are full, have accepted
    requests, and none has had its limit lowered: APNs reacts to errors with a lower limit, and more connections
    would not help.

    Args:
        waiting: requests that could be sent now.
        links: the usable connections.
        connections_max: upper limit of connections.
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
    """Delay before the next attempt to connect.

    Failures double the wait from `first_s` up to `most_s`, and each wait is shortened by up to half at random, so
    that gateways do not reconnect in step. Apple treats rapid opening and closing as an attack, so connections that
    worked but lasted less than `brief_s` count too, after `brief_free` of them.

    Attributes:
        jitter: returns a number in [0, 1).
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
        """Record a failed attempt, or the end of a connection without any success."""
        self._failures += 1
        self._delay(self._failures, now_s)

    def ended(self, successes: int, lived_s: float, now_s: float) -> None:
        """Record the end of a connection.

        Args:
            successes: requests that it accepted.
            lived_s: seconds from its opening to its end.
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
        """Seconds until the next attempt is allowed; 0: now."""
        return max(0.0, self._ready_s - now_s)

    def _delay(self, count: int, now_s: float) -> None:
        full_s = min(self.most_s, self.first_s * 2.0 ** min(count - 1, 30))
        self._ready_s = now_s + full_s * (1 - self.jitter() / 2)
