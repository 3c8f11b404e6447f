"""API tokens: who may ping (contract §1.1), without a question to Redis for each ping.

What Redis said about a token holds for `KEEP_S`. After that a token that was valid within `VALID_S` is looked up first,
on a connection that is reserved for such tokens; every other token may be invented, and waits for a batch of look-ups
in the turn of its client. Good tokens and others are remembered apart, both bounded, so that a flood of invented tokens
cannot push the good ones out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from gateway.errors import ApiTokenRefused
from gateway.registry.accounts import NAME_CHARACTERS, Standing
from gateway.scheduling.lookups import Lookups

KEEP_S: Final = 3.0  # a revoked token opens the door at most this much longer
VALID_S: Final = 3_600.0
"""For so long a token that was valid is looked up before those that may be invented."""
_ADMINS_MAX: Final = 4_096
_OTHERS_MAX: Final = 4_096
_KEPT_CHARACTERS: Final = 128
"""A longer token that opens nothing is not remembered: many of them would fill the memory."""
_NOTHING: Final = "No API token provided"
_NOBODY: Final = "Invalid/missing API user"
Value = TypeVar("Value")


class TokenBook:
    """Remembers what tokens are worth.

    Args:
        ask: asks the store about one token, before all others.
        ask_many: asks the store about many tokens; the answers stand in the same order.
        favoured: whether a token is to be asked about first though it was not valid lately: the configured one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Standing]],
        ask_many: Callable[[Sequence[str]], Awaitable[Sequence[Standing]]],
        *,
        favoured: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._look_up = Lookups(ask_many)
        self._favoured = favoured
        self._clock = clock
        self._admins: dict[str, float] = {}  # until when it holds; those of the last hour stay, oldest first
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

    async def standing(self, token: str, client: str = "") -> Standing:
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
        if not self._was_valid(token) and not self._favoured(token):
            standing = await self._look_up(token, client)
            self._note(token, standing)
            return standing
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

    async def ask(self, header: str, parameter: str, client: str = "") -> Standing:
        """`judge`, with the store's help; see `standing`."""
        standing = await self.standing(header, client)
        return await self.standing(parameter, client) if standing is Standing.MISSING else standing

    def forget(self) -> None:
        """Ask anew about every token: a user or token was changed through this door."""
        now = self._clock()
        self._admins = {token: min(until, now) for token, until in self._admins.items()}
        self._others.clear()

    async def close(self) -> None:
        """End the look-ups; their callers are cancelled."""
        await self._look_up.close()
        asking = tuple(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _was_valid(self, token: str) -> bool:
        until = self._admins.get(token)
        return until is not None and self._clock() < until - KEEP_S + VALID_S

    async def _learn(self, token: str) -> Standing:
        standing = await self._ask(token)
        self._note(token, standing)
        return standing

    def _note(self, token: str, standing: Standing) -> None:
        until = self._clock() + KEEP_S
        self._admins.pop(token, None)
        if standing is Standing.ADMIN:
            _keep(self._admins, token, until, _ADMINS_MAX)
        elif len(token) <= _KEPT_CHARACTERS:
            _keep(self._others, token, (until, standing), _OTHERS_MAX)


def _keep(kept: dict[str, Value], token: str, value: Value, most: int) -> None:
    """Keep a value as the newest; the oldest makes room."""
    kept.pop(token, None)
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[token] = value


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
