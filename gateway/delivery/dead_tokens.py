"""Device tokens that a provider called dead: marked in Redis, with a brake.

Marks stand beside RhoConnect's keys and never in them, and end by themselves when the device gets a new
token or syncs (`registry.token_marks`). A wrong setting (a sandbox key at the production host) can make every token
look dead: nothing is marked before a lane has had an acceptance (`gate`), and when most of what it sends comes back
as dead, nothing is marked any more until that has passed.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol

import structlog

from gateway.clock import SHARED
from gateway.delivery.batch import Send
from gateway.delivery.route import Place
from gateway.delivery.token_trust import Gate
from gateway.errors import StoreDown
from gateway.registry.registry import Registry
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


class Tokens(Protocol):
    """What lanes report about device tokens."""

    def heard(self, send: Send, verdict: Verdict, place: Place, others: tuple[str, ...] = ()) -> None:
        """Take note that a provider called this send's token dead.

        Args:
            send: the send.
            verdict: the answer.
            place: where.
            others: keys of other places where the same token is bad.
        """

    def proven(self, place: Place) -> None:
        """Take note that a send was accepted at this place."""

    def moved(self, send: Send, key: str) -> None:
        """Take note that a token that is bad at the place `key` was accepted at the provider's other environment."""

    def keep(self, identities: set[str]) -> None:
        """Only places with these identities are in force from now on."""


class NoMarks(Tokens):
    """Marks nothing."""

    def heard(self, send: Send, verdict: Verdict, place: Place, others: tuple[str, ...] = ()) -> None:
        """Do nothing."""

    def proven(self, place: Place) -> None:
        """Do nothing."""

    def moved(self, send: Send, key: str) -> None:
        """Do nothing."""

    def keep(self, identities: set[str]) -> None:
        """Do nothing."""


class DeadTokens(Tokens):
    """Marks the tokens that the lanes report.

    Args:
        registry: where the marks are.
        gate: whether such an answer may be believed.
    """

    def __init__(self, registry: Registry, gate: Gate) -> None:
        self._registry = registry
        self._gate = gate
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, send: Send, verdict: Verdict, place: Place, others: tuple[str, ...] = ()) -> None:
        """Mark the token, if the place has proven itself."""
        self._start(send, self._mark(send, verdict, place, others))

    def proven(self, place: Place) -> None:
        """See `Gate.prove`."""
        self._gate.prove(place)

    def moved(self, send: Send, key: str) -> None:
        """Remember which environment takes this token."""
        self._start(send, self._remember(send, key))

    def keep(self, identities: set[str]) -> None:
        """See `Gate.keep`."""
        self._gate.keep(identities)

    async def close(self) -> None:
        """Wait for the marks that are being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._gate.close()

    def _start(self, send: Send, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._tried(send, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _tried(send: Send, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreDown as error:
            # The provider will say it again at the next ping.
            _log.warning("dead_token_not_marked", client=send.device.client_id, error=error.message)

    async def _mark(self, send: Send, verdict: Verdict, place: Place, others: tuple[str, ...]) -> None:
        device, now_ms = send.device, SHARED.now_ms()
        if not await self._gate.admits(place, bad=verdict.here_only):
            _log.info(
                "dead_token_not_believed",
                client=device.client_id,
                reason=verdict.reason,
                lane=place.lane,
                why="nothing was accepted yet with this credential, host and topic",
            )
            return
        places = (*others, place.key) if verdict.here_only else ()
        marked = await self._registry.mark_dead(device, verdict.reason, verdict.dead_since_ms, now_ms, places)
        _log.info("dead_token", client=device.client_id, reason=verdict.reason, marked=marked)

    async def _remember(self, send: Send, key: str) -> None:
        await self._registry.mark_host(send.device, key, SHARED.now_ms())
        _log.info("device_environment_learned", client=send.device.client_id)
