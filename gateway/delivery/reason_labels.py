"""Metric labels of a lane's reasons."""

import time
from typing import Final

import structlog

from gateway.delivery.reasons import reason_label

_LOG_S: Final = 60.0
_log = structlog.get_logger("lane")


class ReasonLabels:
    """Maps the reasons of a provider to the labels of metrics, whose number must stay bounded.

    Args:
        lane: name of the lane, for the log.
        reasons: the provider's documented reasons.
    """

    def __init__(self, lane: str, reasons: frozenset[str]) -> None:
        self._lane = lane
        self._reasons = reasons
        self._logged_s = float("-inf")

    def __call__(self, reason: str) -> str:
        """Return the label of a reason; a reason outside the tables is logged in full, at most once a minute."""
        label = reason_label(reason, self._reasons)
        if label != reason:
            now_s = time.monotonic()
            if now_s - self._logged_s >= _LOG_S:
                self._logged_s = now_s
                _log.warning("unknown_provider_reason", lane=self._lane, reason=reason, label=label)
        return label
