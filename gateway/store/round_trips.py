"""Measurement of round trips to Redis on a connection whose replies come in the order of the commands."""

import time

from gateway.telemetry.values import Histogram


class RoundTrips:
    """Measures one round trip at a time, so that a clock is read twice in a round trip and not for each command.

    Args:
        seconds: counts each measured time, from the write of some commands to the reply to the last of them.
    """

    __slots__ = ("_last", "_seconds", "_sent_s")

    def __init__(self, seconds: Histogram) -> None:
        self._seconds = seconds
        self._last = 0
        self._sent_s = 0.0

    def sent(self, commands: int) -> None:
        """Record a write; `commands`: all that were sent on the connection so far."""
        if not self._last:
            self._last = commands
            self._sent_s = time.monotonic()

    def answered(self, replies: int) -> None:
        """Record the arrival of replies; `replies`: all that arrived on the connection so far."""
        if self._last and replies >= self._last:
            self._seconds.observe(time.monotonic() - self._sent_s)
            self._last = 0
