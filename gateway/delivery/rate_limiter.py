"""Keeping a lane to its provider's quota, over all processes together.

A lane draws tokens in small batches ahead of its sends, so that pacing costs one Redis command a batch. When
the quota is used up it asks again a moment later and meanwhile sends nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.delivery.quota import Quota

BATCH_S: Final = 0.05
"""A batch is this much of the quota: what an idle process can hold back from the others."""
_RETRY_S: Final = 0.05


class RateLimiter:
    """One lane's share of a quota.

    Args:
        quota: the buckets.
        name: the lane.
        per_minute: what the provider allows all processes together.
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
        """How many of `wanted` sends may go out now. Fewer: more tokens are being drawn."""
        if self._tokens < wanted and not self._drawing:
            self._draw()
        return min(wanted, self._tokens)

    def consume(self, deliveries: int) -> None:
        """So many went out."""
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
