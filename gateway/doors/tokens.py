"""API tokens: who may ping (contract §1.1), without a question to Redis for each ping.

What Redis said about a token holds for `KEEP_S`. Good tokens and others are remembered apart, both bounded,
so that a flood of invented tokens cannot push the good ones out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import ApiTokenRefused
from gateway.store.accounts import NAME_CHARACTERS, Standing

KEEP_S: Final = 3.0  # a revoked token opens the door at most this much longer
_ADMINS_MAX: Final = 256
_OTHERS_MAX: Final = 4_096
_NOTHING: Final = "No API token provided"
_NOBODY: Final = "Invalid/missing API user"


class TokenBook:
    """Remembers what tokens are worth.

    Args:
        ask: asks the store about one token.
        clock: monotonic seconds.
    """

    def __init__(
        self, ask: Callable[[str], Awaitable[Standing]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._admins: dict[str, float] = {}
        self._others: dict[str, tuple[float, Standing]] = {}
        self._asking: dict[str, asyncio.Task[Standing]] = {}

    def known(self, token: str) -> Standing | None:
        """What this token is worth, if that was asked lately; None: ask."""
        now = self._clock()
        until = self._admins.get(token)
        if until is not None and now < until:
            return Standing.ADMIN
        if not token or len(token) > NAME_CHARACTERS:  # a body's may be as long as the body: not to be kept
            return Standing.MISSING
        other = self._others.get(token)
        return other[1] if other is not None and now < other[0] else None

    async def standing(self, token: str) -> Standing:
        """What this token is worth. Callers with the same token share one question.

        Raises:
            StoreDown: Redis does not answer.
        """
        known = self.known(token)
        if known is not None:
            return known
        asking = self._asking.get(token)
        if asking is None:
            asking = asyncio.ensure_future(self._learn(token))
            self._asking[token] = asking
            asking.add_done_callback(lambda _: self._asking.pop(token, None))
        try:
            # Shielded: the first caller may go away while others wait for the same answer.
            return await asyncio.shield(asking)
        finally:
            # It holds its failure, whose traceback holds this frame and the caller's, with the body.
            del asking

    def judge(self, header: str, parameter: str) -> Standing | None:
        """The two tokens of a request: the header's decides if it exists, else the parameter's. None: ask."""
        standing = self.known(header)
        return self.known(parameter) if standing is Standing.MISSING else standing

    async def ask(self, header: str, parameter: str) -> Standing:
        """`judge`, with the store's help."""
        standing = await self.standing(header)
        return await self.standing(parameter) if standing is Standing.MISSING else standing

    def forget(self) -> None:
        """Ask anew about every token: a user or token was changed through this door."""
        self._admins.clear()
        self._others.clear()

    async def _learn(self, token: str) -> Standing:
        standing = await self._ask(token)
        until = self._clock() + KEEP_S
        if standing is Standing.ADMIN:
            if len(self._admins) >= _ADMINS_MAX:
                self._admins.clear()
            self._admins[token] = until
        else:
            self._admins.pop(token, None)
            if len(self._others) >= _OTHERS_MAX:
                self._others.clear()
            self._others[token] = (until, standing)
        return standing


def require_admin(standing: Standing) -> None:
    """Let an admin through.

    The errors are raised where they are made: one that the frame of its own traceback names is a cycle, and keeps
    the request's body until Python looks for cycles, which a worker seldom does.

    Raises:
        ApiTokenRefused: in RhoConnect's words.
    """
    if standing is Standing.MISSING:
        raise ApiTokenRefused(_NOTHING)
    if standing is not Standing.ADMIN:
        raise ApiTokenRefused(_NOBODY)
