"""Device tokens that a provider called dead: marked in Redis, with a brake.

Marks stand beside RhoConnect's keys and never in them, and end by themselves when the device gets a new
token. A wrong setting (a sandbox key at the production host) can make every token look dead: when most of
what a lane sends comes back as dead, nothing is marked any more until that has passed.
"""

import asyncio
import time
from collections import deque
from typing import Final

import structlog

from gateway.delivery.send import Send
from gateway.errors import StoreDown
from gateway.store.registry import Registry
from protocols.verdict import Verdict

_log = structlog.get_logger("dead")

BRAKE_COUNT: Final = 100
"""So many dead tokens ..."""
BRAKE_S: Final = 60.0
"""... within so many seconds trip the brake: a shop's phones do not die by the hundred in a minute."""


class Brake:
    """Decides whether one more dead token is believed. No I/O."""

    def __init__(self, count: int = BRAKE_COUNT, within_s: float = BRAKE_S) -> None:
        self._count = count
        self._within_s = within_s
        self._times: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count one; False while more than `count` came within the time."""
        times = self._times
        times.append(now_s)
        while times[0] <= now_s - self._within_s:
            times.popleft()
        return len(times) <= self._count


class DeadTokens:
    """Hears of dead tokens from the lanes and marks them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._brake = Brake()
        self._tripped = False
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, send: Send, verdict: Verdict) -> None:
        """A provider called this send's token dead."""
        allowed = self._brake.allows(time.monotonic())
        if not allowed:
            if not self._tripped:
                _log.error("mass_invalidation", reason=verdict.reason, within_s=BRAKE_S, count=BRAKE_COUNT)
            self._tripped = True
            return
        self._tripped = False
        task = asyncio.create_task(self._mark(send, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the marks that are being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _mark(self, send: Send, verdict: Verdict) -> None:
        now_ms = time.time_ns() // 1_000_000
        try:
            marked = await self._registry.mark_dead(
                send.device, verdict.reason, verdict.dead_since_ms, now_ms
            )
        except StoreDown as error:
            # The provider will say it again at the next ping.
            _log.warning("dead_token_not_marked", client=send.device.client_id, error=error.message)
            return
        _log.info("dead_token", client=send.device.client_id, reason=verdict.reason, marked=marked)
