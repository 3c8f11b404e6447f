"""Login attempts: processed in turn for each client, and counted before the password is checked."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from gateway.errors import RhoPushError, StoreDown, TooManyRequests
from gateway.registry.login_limits import ACCOUNT_ATTEMPTS, LoginLimits
from gateway.scheduling.fair_work import FairWork

Found = TypeVar("Found")

SPACING_S: Final = 0.5
"""Time between two attempts at an account that is under attack from many clients, in each process."""
_REFUSED_S: Final = 1.0
"""Time for which a refusal is repeated without a query to Redis."""
_REFUSED_MAX: Final = 4_096


class LoginThrottle:
    """Checks passwords, and other secrets that a caller could guess.

    Args:
        limits: counts the attempts.
        at_once: most attempts that are checked at the same time.
        clock: monotonic seconds.
    """

    def __init__(
        self, limits: LoginLimits, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._refused: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._work = FairWork(at_once, self._refusal, clock=clock)

    async def attempt(
        self, account: str, client: str, check: Callable[[], Awaitable[Found | None]]
    ) -> Found | None:
        """Check a secret.

        Args:
            account: the account of the secret (`gateway.registry.login_limits.account_of`).
            client: address or network of the client.
            check: returns the object that the secret gives access to; None: the secret is wrong.

        Raises:
            TooManyRequests: the client has no attempt left.
            AuthenticationBusy: too many clients log in.
            StoreDown: Redis cannot be reached.
        """
        refusal = self._refusal(client, account)
        if refusal is not None:
            raise refusal

        async def work() -> Found | None:
            return await self._counted(account, client, check)

        return await self._work.run(work, client=client, subject=account)

    async def in_turn(self, client: str, work: Callable[[], Awaitable[Found]]) -> Found:
        """Do work as costly as a login attempt, in the client's turn, without counting it. Raises as `attempt`."""
        return await self._work.run(work, client=client)

    async def close(self) -> None:
        """Stop the attempts in progress."""
        await self._work.close()

    async def _counted(
        self, account: str, client: str, check: Callable[[], Awaitable[Found | None]]
    ) -> Found | None:
        try:
            attempt = await self._limits.reserve(account, client)
        except TooManyRequests as error:
            self._remember_refusal(account, client, error.retry_after_s)
            self._work.demote(client, account)
            raise
        if attempt.account_attempts > ACCOUNT_ATTEMPTS:
            self._work.delay(account, SPACING_S)
        try:
            found = await check()
        except BaseException:
            await self._adjust_count(self._limits.release(attempt))
            raise
        if found is None:
            self._work.demote(client, account)
            await self._adjust_count(self._limits.failed(attempt))
        else:
            await self._adjust_count(self._limits.release(attempt))
        return found

    @staticmethod
    async def _adjust_count(counting: Awaitable[None]) -> None:
        """Adjust the count. If Redis is unavailable, the attempt counts until its window ends; the result is the
        same."""
        with suppress(StoreDown):
            await counting

    def _remember_refusal(self, account: str, client: str, retry_after_s: int) -> None:
        if len(self._refused) >= _REFUSED_MAX:
            self._refused.popitem(last=False)
        self._refused[client, account] = (self._clock() + min(_REFUSED_S, retry_after_s), retry_after_s)

    def _refusal(self, client: str, account: str) -> RhoPushError | None:
        until_s, retry_after_s = self._refused.get((client, account), (0.0, 0))
        if self._clock() >= until_s:
            return None
        return TooManyRequests("too many failed logins", retry_after_s=retry_after_s)
