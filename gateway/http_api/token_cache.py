"""A cache of API tokens (contract §1.1), so that a ping needs no request to Redis.

Redis' answer about a token is valid for `CACHE_S`. After that, a token that was valid within `VALID_S` is looked up
with priority, on a connection reserved for such tokens. Any other token may be invented, and waits for a batch of
look-ups in the turn of its client. Valid and invalid tokens are cached separately, both bounded, so that a flood of
invented tokens cannot evict the valid ones.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from gateway.errors import ApiTokenRefused
from gateway.registry import named_tokens
from gateway.registry.accounts import NAME_CHARACTERS, TokenRole
from gateway.registry.scopes import API_TOKEN, Principal
from gateway.scheduling.lookups import Lookups

CACHE_S: Final = 3.0  # a revoked token stays usable at most this much longer
VALID_S: Final = 3_600.0
"""Time after its last use during which a formerly valid token is looked up with priority."""
_ADMINS_MAX: Final = 4_096
_OTHERS_MAX: Final = 4_096
_CACHED_CHARACTERS: Final = 128
"""Longest invalid token that is cached: many longer ones would fill the memory."""
_NOTHING: Final = "No API token provided"
_NOBODY: Final = "Invalid/missing API user"
_ADMIN: Final = TokenRole.ADMIN  # the look-up of an enum's member costs a fraction of a microsecond
Value = TypeVar("Value")
TokenGrant = TokenRole | Principal
"""Permissions of a token: of a named token its caller, of every other token a role."""
FindNamed = Callable[[Sequence[str]], Awaitable[Sequence[Principal | None]]]
"""Looks up named tokens; returns their callers in the same order."""


class TokenCache:
    """Caches what tokens grant.

    Args:
        resolve: looks up one token, with priority.
        ask_many: looks up many tokens; returns the roles in the same order.
        is_configured: whether a token is looked up with priority although it was not valid recently: the configured
            token.
        find_named: looks up tokens that have the form of named tokens; None: there are no named tokens.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        resolve: Callable[[str], Awaitable[TokenRole]],
        ask_many: Callable[[Sequence[str]], Awaitable[Sequence[TokenRole]]],
        *,
        is_configured: Callable[[str], bool] = lambda _: False,
        find_named: FindNamed | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = resolve
        self._look_up = Lookups(ask_many)
        self._find_named = find_named
        # Batches of their own: named tokens are in another Redis, whose failure must not refuse the other tokens.
        self._look_up_named = None if find_named is None else Lookups(find_named)
        self._is_configured = is_configured
        self._clock = clock
        self._admins: dict[
            str, float
        ] = {}  # expiry by token, oldest first; tokens stay for `VALID_S` after it
        self._others: dict[str, tuple[float, TokenRole]] = {}
        self._named: dict[str, tuple[float, Principal]] = {}  # valid named tokens, as `_admins`
        self._pending: dict[str, asyncio.Task[TokenGrant]] = {}

    def known(self, token: str) -> TokenGrant | None:
        """Return what a cached token grants; None: it must be looked up."""
        now = self._clock()
        until = self._admins.get(token)
        if until is not None and now < until:
            return _ADMIN
        if (
            not token or len(token) > NAME_CHARACTERS
        ):  # a token in a body may be as long as the body: it is not cached
            return TokenRole.MISSING
        other = self._others.get(token) or self._named.get(token)
        return other[1] if other is not None and now < other[0] else None

    async def role(self, token: str, client: str = "") -> TokenGrant:
        """Return what a token grants. Concurrent calls for the same token share one look-up.

        Args:
            token: the token.
            client: the client that sent the token: look-ups are shared fairly among clients.

        Raises:
            AuthenticationBusy: too many tokens wait for a look-up.
            StoreDown: Redis does not answer.
        """
        known = self.known(token)
        if known is not None:
            return known
        if not self._was_valid(token) and not self._is_configured(token):
            role = await self._look_up_fairly(token, client)
            self._store(token, role)
            return role
        asking = self._pending.get(token)
        if asking is None:
            asking = asyncio.ensure_future(self._fetch(token))
            self._pending[token] = asking
            asking.add_done_callback(lambda _: self._pending.pop(token, None))
        try:
            # Shielded: the first caller may disconnect while others wait for the same answer.
            return await asyncio.shield(asking)
        finally:
            # The task holds its failure, whose traceback holds this frame and the caller's, with the body.
            del asking

    def lookup(self, header: str, parameter: str) -> TokenGrant | None:
        """Return the cached grant of a request's tokens: the header's token if it is present, else the parameter's."""
        until = self._admins.get(header)
        if until is not None and self._clock() < until:  # most pings: without a second call
            return _ADMIN
        role = self.known(header)
        return self.known(parameter) if role is TokenRole.MISSING else role

    async def resolve(self, header: str, parameter: str, client: str = "") -> TokenGrant:
        """Return `lookup`, or look the token up in the store; see `role`."""
        role = await self.role(header, client)
        return await self.role(parameter, client) if role is TokenRole.MISSING else role

    def clear(self) -> None:
        """Discard all cached grants: this process changed a user or token."""
        now = self._clock()
        self._named = {token: (min(until, now), caller) for token, (until, caller) in self._named.items()}
        self._admins = {token: min(until, now) for token, until in self._admins.items()}
        self._others.clear()

    async def close(self) -> None:
        """Cancel the look-ups and their callers."""
        await self._look_up.close()
        if self._look_up_named is not None:
            await self._look_up_named.close()
        asking = tuple(self._pending.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _was_valid(self, token: str) -> bool:
        until = self._admins.get(token)
        if until is None and token in self._named:
            until = self._named[token][0]
        return until is not None and self._clock() < until - CACHE_S + VALID_S

    async def _look_up_fairly(self, token: str, client: str) -> TokenGrant:
        if self._look_up_named is None or not named_tokens.has_form(token):
            return await self._look_up(token, client)
        return await self._look_up_named(token, client) or TokenRole.MISSING

    async def _fetch(self, token: str) -> TokenGrant:
        grant: TokenGrant
        if self._find_named is not None and token in self._named:
            (found,) = await self._find_named([token])
            grant = found or TokenRole.MISSING
        else:
            grant = await self._ask(token)
        self._store(token, grant)
        return grant

    def _store(self, token: str, grant: TokenGrant) -> None:
        until = self._clock() + CACHE_S
        self._admins.pop(token, None)
        self._named.pop(token, None)
        self._others.pop(token, None)
        if grant is TokenRole.ADMIN:
            _store_newest(self._admins, token, until, _ADMINS_MAX)
        elif isinstance(grant, Principal):
            _store_newest(self._named, token, (until, grant), _ADMINS_MAX)
        elif len(token) <= _CACHED_CHARACTERS:
            _store_newest(self._others, token, (until, grant), _OTHERS_MAX)


def _store_newest(kept: dict[str, Value], token: str, value: Value, most: int) -> None:
    """Store a value as the newest, and evict the oldest."""
    kept.pop(token, None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[token] = value


def is_valid(grant: TokenGrant | None) -> bool:
    """Return whether a token may do anything at all: it is an admin's, or a named one."""
    return grant is TokenRole.ADMIN or isinstance(grant, Principal)


def principal_of(grant: TokenGrant) -> Principal:
    """Return the caller that has a token.

    Errors are raised here and held by no variable: an error that the frame of its own traceback refers to is a cycle,
    and keeps the request's body alive until the cycle collector runs, which is seldom in a worker.

    Raises:
        ApiTokenRefused: the token is neither an admin's nor a named one; the text is RhoConnect's.
    """
    if isinstance(grant, Principal):
        return grant
    if grant is TokenRole.MISSING:
        raise ApiTokenRefused(_NOTHING)
    if grant is not TokenRole.ADMIN:
        raise ApiTokenRefused(_NOBODY)
    return API_TOKEN
