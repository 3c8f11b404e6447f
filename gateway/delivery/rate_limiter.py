"""Rate limiter of a lane: enforces the provider's quota over all processes together.

A lane draws tokens in small batches ahead of its deliveries, so that pacing costs one Redis command for each
batch. When the quota is used up, the lane draws again a moment later and sends nothing meanwhile.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.delivery.quota import Quota

BATCH_S: Final = 0.05
"""Share of the quota in one batch, which is the most that an idle process can withhold from the others."""
_RETRY_S: Final = 0.05


class RateLimiter:
    """One lane's share of a quota.

    Args:
        quota: the token buckets.
        name: name of the lane.
        per_minute: the provider's quota for all processes together.
        on_grant: called when the lane may send again.
    """

    def __init__(self, quota: Quota, name: str, per_minute: int, on_grant: Callable[[], None]) -> None:
        self._quota = quota
        self._name = name
        self._per_s = per_minute / 60
        self._batch = max(1, int(self._per_s * BATCH_S))
        self._on_grant = on_grant
        self._tokens = 0
        self._drawing = False
        self._loop = asyncio.get_running_loop()

    def allow(self, wanted: int) -> int:
        """Number of the `wanted` deliveries that may be sent now. If it is smaller, more tokens are being drawn."""
        if self._tokens < wanted and not self._drawing:
            self._draw()
        return min(wanted, self._tokens)

    def consume(self, deliveries: int) -> None:
        """Count deliveries that were sent."""
        self._tokens -= deliveries

    def _draw(self) -> None:
        self._drawing = True
        self._quota.draw(self._name, self._batch, self._per_s, self._granted)

    def _granted(self, tokens: int) -> None:
        if tokens:
            self._drawing = False
            self._tokens += tokens
            self._on_grant()
        else:
            self._loop.call_later(_RETRY_S, self._draw)
