"""API tokens: who may ping (contract §1.1), without a question to Redis for each ping.

What Redis said about a token holds for `CACHE_S`. After that a token that was valid within `VALID_S` is looked up
first, on a connection that is reserved for such tokens; every other token may be invented, and waits for a batch of
look-ups in the turn of its client. Good tokens and others are remembered apart, both bounded, so that a flood of
invented tokens cannot push the good ones out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from gateway.errors import ApiTokenRefused
from gateway.registry.accounts import NAME_CHARACTERS, TokenRole
from gateway.scheduling.lookups import Lookups

CACHE_S: Final = 3.0  # a revoked token opens the door at most this much longer
VALID_S: Final = 3_600.0
"""For so long a token that was valid is looked up before those that may be invented."""
_ADMINS_MAX: Final = 4_096
_OTHERS_MAX: Final = 4_096
_CACHED_CHARACTERS: Final = 128
"""A longer token that opens nothing is not remembered: many of them would fill the memory."""
_NOTHING: Final = "No API token provided"
_NOBODY: Final = "Invalid/missing API user"
Value = TypeVar("Value")


class TokenCache:
    """Remembers what tokens are worth.

    Args:
        resolve: asks the store about one token, before all others.
        ask_many: asks the store about many tokens; the answers stand in the same order.
        is_configured: whether a token is to be asked about first though it was not valid lately: the configured one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[TokenRole]],
        ask_many: Callable[[Sequence[str]], Awaitable[Sequence[TokenRole]]],
        *,
        is_configured: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = resolve
        self._look_up = Lookups(ask_many)
        self._is_configured = is_configured
        self._clock = clock
        self._admins: dict[str, float] = {}  # until when it holds; those of the last hour stay, oldest first
        self._others: dict[str, tuple[float, TokenRole]] = {}
        self._pending: dict[str, asyncio.Task[TokenRole]] = {}

    def known(self, token: str) -> TokenRole | None:
        """What this token is worth, if that was asked lately; None: ask."""
        now = self._clock()
        until = self._admins.get(token)
        if until is not None and now < until:
            return TokenRole.ADMIN
        if not token or len(token) > NAME_CHARACTERS:  # a body's may be as long as the body: not to be kept
            return TokenRole.MISSING
        other = self._others.get(token)
        return other[1] if other is not None and now < other[0] else None

    async def role(self, token: str, client: str = "") -> TokenRole:
        """What this token is worth. Callers with the same token share one question.

        Args:
            token: the token.
            client: the client that sent it, as look-ups are shared out among clients.

        Raises:
            AuthenticationBusy: too many tokens wait to be looked up.
            StoreDown: Redis does not answer.
        """
        known = self.known(token)
        if known is not None:
            return known
        if not self._was_valid(token) and not self._is_configured(token):
            role = await self._look_up(token, client)
            self._store(token, role)
            return role
        asking = self._pending.get(token)
        if asking is None:
            asking = asyncio.ensure_future(self._fetch(token))
            self._pending[token] = asking
            asking.add_done_callback(lambda _: self._pending.pop(token, None))
        try:
            # Shielded: the first caller may go away while others wait for the same answer.
            return await asyncio.shield(asking)
        finally:
            # It holds its failure, whose traceback holds this frame and the caller's, with the body.
            del asking

    def lookup(self, header: str, parameter: str) -> TokenRole | None:
        """The two tokens of a request: the header's decides if it exists, else the parameter's. None: ask."""
        role = self.known(header)
        return self.known(parameter) if role is TokenRole.MISSING else role

    async def resolve(self, header: str, parameter: str, client: str = "") -> TokenRole:
        """`lookup`, with the store's help; see `role`."""
        role = await self.role(header, client)
        return await self.role(parameter, client) if role is TokenRole.MISSING else role

    def clear(self) -> None:
        """Ask anew about every token: a user or token was changed through this door."""
        now = self._clock()
        self._admins = {token: min(until, now) for token, until in self._admins.items()}
        self._others.clear()

    async def close(self) -> None:
        """End the look-ups; their callers are cancelled."""
        await self._look_up.close()
        asking = tuple(self._pending.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _was_valid(self, token: str) -> bool:
        until = self._admins.get(token)
        return until is not None and self._clock() < until - CACHE_S + VALID_S

    async def _fetch(self, token: str) -> TokenRole:
        role = await self._ask(token)
        self._store(token, role)
        return role

    def _store(self, token: str, role: TokenRole) -> None:
        until = self._clock() + CACHE_S
        self._admins.pop(token, None)
        if role is TokenRole.ADMIN:
            _store_newest(self._admins, token, until, _ADMINS_MAX)
        elif len(token) <= _CACHED_CHARACTERS:
            _store_newest(self._others, token, (until, role), _OTHERS_MAX)


def _store_newest(kept: dict[str, Value], token: str, value: Value, most: int) -> None:
    """Keep a value as the newest; the oldest makes room."""
    kept.pop(token, None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[token] = value


def require_admin(role: TokenRole) -> None:
    """Let an admin through.

    The errors are raised where they are made: one that the frame of its own traceback names is a cycle, and keeps
    the request's body until Python looks for cycles, which a worker seldom does.

    Raises:
        ApiTokenRefused: in RhoConnect's words.
    """
    if role is TokenRole.MISSING:
        raise ApiTokenRefused(_NOTHING)
    if role is not TokenRole.ADMIN:
        raise ApiTokenRefused(_NOBODY)
