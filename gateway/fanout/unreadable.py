"""Quarantine of entries that cannot be read or planned: counted, logged with a rate limit, and stored in Redis."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import RhoPushError
from gateway.metrics import Metrics
from gateway.queue.consumer import Streams
from gateway.queue.entries import Lease
from gateway.store import keys

LOG_EVERY_S: Final = 10.0
"""Shortest time between two log lines about entries of the same stream; the later line has the number of entries
since."""
REASON_CHARS: Final = 300
"""Most characters of an error's text in the record and in the log."""
_log = structlog.get_logger("fanout")


class UnreadableEntries:
    """Quarantines entries.

    Args:
        streams: the consumer that holds the entries.
        metrics: counts `entries_unreadable`.
        clock: monotonic seconds for the rate limit of log lines.
    """

    def __init__(
        self, streams: Streams, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self._unlogged: dict[str, int] = {}
        self._logged_s: dict[str, float] = {}
        for stream in keys.STREAMS:  # Prometheus sees no increase in the first value of a series
            metrics.entries_unreadable(_label(stream))

    async def quarantine(self, lease: Lease, error: Exception) -> None:
        """Store a record of this entry and remove it from its stream.

        Raises:
            StoreDown: the entry may be in quarantine already; repeating the call is safe.
        """
        reason = _reason(error)
        if await self._streams.quarantine(lease, reason, SHARED_CLOCK.now_ms()):
            self._metrics.entries_unreadable(_label(lease.stream)).inc()
            self._report(lease, reason)

    def _report(self, lease: Lease, reason: str) -> None:
        stream, now = lease.stream, self._clock()
        count = self._unlogged[stream] = self._unlogged.get(stream, 0) + 1
        if now - self._logged_s.get(stream, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged_s[stream] = now
            self._unlogged[stream] = 0
            _log.error("entry_quarantined", stream=stream, entry=lease.entry, error=reason, entries=count)


def _label(stream: str) -> str:
    return stream.rpartition(":")[2]


def _reason(error: Exception) -> str:
    """The error as one line of limited length, since parsers quote their input."""
    text = error.message if isinstance(error, RhoPushError) else f"{type(error).__name__}: {error}"
    return text[:REASON_CHARS].encode("utf-8", "replace").decode()
