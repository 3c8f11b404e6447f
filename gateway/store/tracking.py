"""Redis tells which keys of the registry changed (client-side caching, broadcast mode).

One RESP3 connection asks for the invalidations and receives them itself, so that its loss is seen: it empties
the cache, and nothing is kept until it stands again.
"""

import asyncio
import contextlib
from typing import Any, Final

import structlog

from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.address import Address
from gateway.store.link import Link, Reply
from gateway.store.registry import Registry

_log = structlog.get_logger("tracking")

PREFIXES: Final = (
    keys.USER_PREFIX,
    keys.DEAD_PREFIX,
    *(f"{keys.CLIENT_PREFIX}{digit}" for digit in "0123456789bcdef"),
    *(f"{keys.CLIENT_PREFIX}a{digit}" for digit in "0123456789abcdef"),
)
"""Client ids are hex; RhoConnect's documents are `client:application:...` and change at every sync: kept out,
since no second hex digit is a `p`."""
PING_S: Final = 5.0
"""How often the connection proves that it lives; a cached entry can be this much and a reply's deadline too old."""


class Invalidations:
    """Keeps a registry's cache true."""

    def __init__(self, address: Address, registry: Registry, *, name: str = "tracking") -> None:
        self._registry = registry
        self._link = Link(
            address, name, reply_s=3.0, on_push=self._pushed, on_up=self._up, on_down=self._down
        )
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen. A Redis without client tracking means no cache, said in the log."""
        await self._link.open(10.0)
        self._task = asyncio.create_task(self._prove(), name="tracking:prove")

    async def close(self) -> None:
        """Stop listening; the cache is emptied."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._link.close()

    def _up(self) -> None:
        words: list[str] = ["CLIENT", "TRACKING", "ON", "BCAST"]
        for prefix in PREFIXES:
            words += ["PREFIX", prefix]
        # Called before the link is announced as up, while `call_then` already works.
        self._link.call_then(words, self._tracking)

    def _tracking(self, reply: Reply) -> None:
        if isinstance(reply, StoreDown):
            _log.warning("no_client_tracking", error=reply.message)
        else:
            self._registry.forget(None)
            self._registry.cache.trusted = True

    def _down(self) -> None:
        self._registry.cache.trusted = False
        self._registry.forget(None)

    def _pushed(self, message: Any) -> None:
        if message[0] == b"invalidate":
            self._registry.forget(message[1])

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self._link.post("PING")
