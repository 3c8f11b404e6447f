"""Dead device tokens: marked in Redis, with a limit on their rate.

The marks are separate from RhoConnect's keys, and expire when the device gets a new token or syncs
(`registry.token_marks`). A wrong setting (a sandbox key at the production host) can make every token look dead:
therefore no token is marked before a lane has had an acceptance (`trust`), and while most responses report dead
tokens, no further token is marked.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery
from gateway.delivery.route import TokenScope
from gateway.delivery.token_trust import TokenTrust
from gateway.errors import StoreDown
from gateway.registry.registry import DeviceRegistry
from protocols.ping.addressees import DIGEST_PREFIX
from protocols.verdict import Verdict

_log = structlog.get_logger("dead_tokens")

BURST_COUNT: Final = 100
"""Dead tokens of a lane within `BURST_WINDOW_S` above which no further one is marked, if they outnumber the lane's
other responses: so many real devices do not disappear at once."""
BURST_WINDOW_S: Final = 60.0


class InvalidationLimiter:
    """Decides whether one more dead token of a lane is believed. No I/O."""

    def __init__(self, count: int = BURST_COUNT, within_s: float = BURST_WINDOW_S) -> None:
        self._count = count
        self._within_s = within_s
        self._times: deque[float] = deque(maxlen=count + 1)
        self._since = 0.0
        self._invalid = [0, 0]
        """Counts of the previous and the present window, each `within_s` long."""
        self._valid = [0, 0]

    def record_valid(self, answers: int, now_s: float) -> None:
        """Count tokens that the provider accepted as valid."""
        self._advance_window(now_s)
        self._valid[1] += answers

    def allow_invalid(self, now_s: float) -> bool:
        """Count one dead token; False while there are too many."""
        self._advance_window(now_s)
        self._invalid[1] += 1
        times = self._times
        times.append(now_s)
        while times[0] <= now_s - self._within_s:
            times.popleft()
        return len(times) <= self._count or sum(self._invalid) <= sum(self._valid)

    def _advance_window(self, now_s: float) -> None:
        past_s = now_s - self._since
        if past_s >= self._within_s:
            for counts in (self._invalid, self._valid):
                counts[:] = [counts[1] if past_s < 2 * self._within_s else 0, 0]
            self._since = now_s


def is_registered(delivery: Delivery) -> bool:
    """Whether the device is one of the registry. A raw token of a caller (`to.tokens`) is not, and gets no mark."""
    return not delivery.device.client_id.startswith(DIGEST_PREFIX)


class TokenReports(Protocol):
    """Interface through which lanes report about device tokens."""

    def on_dead_token(
        self, delivery: Delivery, verdict: Verdict, scope: TokenScope, others: tuple[str, ...] = ()
    ) -> None:
        """Report that a provider called the token of this delivery dead.

        Args:
            delivery: the delivery.
            verdict: the verdict of the provider's response.
            scope: host and topic of the request.
            others: keys of other scopes in which the same token is bad.
        """

    def on_accepted(self, scope: TokenScope) -> None:
        """Report that a delivery was accepted in this scope."""

    def on_environment_learned(self, delivery: Delivery, key: str) -> None:
        """Report that a token that is bad in the scope `key` was accepted at the provider's other environment."""

    def retain(self, identities: set[str]) -> None:
        """Keep only scopes with these identities from now on."""


class IgnoredTokenReports(TokenReports):
    """Ignores all reports."""

    def on_dead_token(
        self, delivery: Delivery, verdict: Verdict, scope: TokenScope, others: tuple[str, ...] = ()
    ) -> None:
        """Ignore the report."""

    def on_accepted(self, scope: TokenScope) -> None:
        """Ignore the report."""

    def on_environment_learned(self, delivery: Delivery, key: str) -> None:
        """Ignore the report."""

    def retain(self, identities: set[str]) -> None:
        """Ignore the call."""


class DeadTokens(TokenReports):
    """Marks the tokens that the lanes report.

    Args:
        registry: stores the marks.
        trust: decides whether such a response may be believed.
    """

    def __init__(self, registry: DeviceRegistry, trust: TokenTrust) -> None:
        self._registry = registry
        self._trust = trust
        self._tasks: set[asyncio.Task[None]] = set()

    def on_dead_token(
        self, delivery: Delivery, verdict: Verdict, scope: TokenScope, others: tuple[str, ...] = ()
    ) -> None:
        """Mark the token if the scope is trusted."""
        self._start(delivery, self._mark(delivery, verdict, scope, others))

    def on_accepted(self, scope: TokenScope) -> None:
        """See `TokenTrust.record_acceptance`."""
        self._trust.record_acceptance(scope)

    def on_environment_learned(self, delivery: Delivery, key: str) -> None:
        """Store which environment accepts this token."""
        if not is_registered(delivery):
            return
        self._start(delivery, self._remember(delivery, key))

    def retain(self, identities: set[str]) -> None:
        """See `TokenTrust.retain`."""
        self._trust.retain(identities)

    async def close(self) -> None:
        """Wait for the marks that are being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._trust.close()

    def _start(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._tried(delivery, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _tried(delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreDown as error:
            # The provider will report it again at the next ping.
            _log.warning("dead_token_write_failed", client=delivery.device.client_id, error=error.message)

    async def _mark(
        self, delivery: Delivery, verdict: Verdict, scope: TokenScope, others: tuple[str, ...]
    ) -> None:
        device, now_ms = delivery.device, SHARED_CLOCK.now_ms()
        if not await self._trust.is_trusted(scope, bad=verdict.reason if verdict.host_specific else ""):
            _log.info(
                "dead_token_ignored",
                client=device.client_id,
                reason=verdict.reason,
                lane=scope.lane,
                why="nothing was accepted yet with this credential, host and topic",
            )
            return
        host_keys = (*others, scope.key) if verdict.host_specific else ()
        marked = await self._registry.mark_dead(
            device, verdict.reason, verdict.dead_since_ms, now_ms, host_keys
        )
        _log.info("dead_token_reported", client=device.client_id, reason=verdict.reason, marked=marked)

    async def _remember(self, delivery: Delivery, key: str) -> None:
        await self._registry.mark_host(delivery.device, key, SHARED_CLOCK.now_ms())
        _log.info("device_environment_learned", client=delivery.device.client_id)
