"""Changes that cause no push: counted, and logged once a minute with an example."""

import time
from typing import Any, Final

import structlog

from gateway.metrics import Metrics

LOG_INTERVAL_S: Final = 60.0
EXAMPLE_BYTES: Final = 200

_log = structlog.get_logger("change_events")


class Rejections:
    """Counts rejected changes by reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts: dict[str, int] = {}
        self._logged_s: dict[str, float] = {}

    def record(self, reason: str, example: bytes | str, **facts: Any) -> None:
        """Count one rejected change.

        Args:
            reason: the label.
            example: the event, or a text that identifies it.
            facts: further fields of the log line.
        """
        self._metrics.change_events_ignored(reason).inc()
        self._counts[reason] = self._counts.get(reason, 0) + 1
        now = time.monotonic()
        if now - self._logged_s.get(reason, -LOG_INTERVAL_S) < LOG_INTERVAL_S:
            return
        self._logged_s[reason] = now
        shown = example.decode("utf-8", "replace") if isinstance(example, bytes) else example
        count = self._counts.pop(reason)
        _log.warning(
            "change_events_ignored", reason=reason, count=count, example=shown[:EXAMPLE_BYTES], **facts
        )
