"""Device tokens that a provider called dead: marked in Redis, with a brake.

Marks stand beside RhoConnect's keys and never in them, and end by themselves when the device gets a new
token. A wrong setting (a sandbox key at the production host) can make every token look dead: when most of
what a lane sends comes back as dead, nothing is marked any more until that has passed.
"""

import asyncio
from collections import deque
from typing import Final

import structlog

from gateway.clock import SHARED
from gateway.delivery.send import Send
from gateway.errors import StoreDown
from gateway.store.registry import Registry
from protocols.verdict import Verdict

_log = structlog.get_logger("dead")

BRAKE_COUNT: Final = 100
"""More dead tokens than these ..."""
BRAKE_S: Final = 60.0
"""... within so many seconds, and more than the other answers of a lane: no shop's phones die like that."""


class Brake:
    """Decides whether one more dead token of a lane is believed. No I/O."""

    def __init__(self, count: int = BRAKE_COUNT, within_s: float = BRAKE_S) -> None:
        self._count = count
        self._within_s = within_s
        self._times: deque[float] = deque(maxlen=count + 1)
        self._since = 0.0
        self._dead = [0, 0]
        """In the time before and in this one, each `within_s` long."""
        self._alive = [0, 0]

    def alive(self, answers: int, now_s: float) -> None:
        """So many tokens were taken as they should be."""
        self._turn(now_s)
        self._alive[1] += answers

    def allows(self, now_s: float) -> bool:
        """Count one dead token; False while there are too many."""
        self._turn(now_s)
        self._dead[1] += 1
        times = self._times
        times.append(now_s)
        while times[0] <= now_s - self._within_s:
            times.popleft()
        return len(times) <= self._count or sum(self._dead) <= sum(self._alive)

    def _turn(self, now_s: float) -> None:
        past_s = now_s - self._since
        if past_s >= self._within_s:
            for counts in (self._dead, self._alive):
                counts[:] = [counts[1] if past_s < 2 * self._within_s else 0, 0]
            self._since = now_s


class DeadTokens:
    """Hears of dead tokens from the lanes and marks them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, send: Send, verdict: Verdict) -> None:
        """A provider called this send's token dead."""
        task = asyncio.create_task(self._mark(send, verdict))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for the marks that are being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _mark(self, send: Send, verdict: Verdict) -> None:
        now_ms = SHARED.now_ms()
        try:
            marked = await self._registry.mark_dead(
                send.device, verdict.reason, verdict.dead_since_ms, now_ms
            )
        except StoreDown as error:
            # The provider will say it again at the next ping.
            _log.warning("dead_token_not_marked", client=send.device.client_id, error=error.message)
            return
        _log.info("dead_token", client=send.device.client_id, reason=verdict.reason, marked=marked)
