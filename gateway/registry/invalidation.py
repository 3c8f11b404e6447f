"""Redis tells which keys of the registry changed (client-side caching, broadcast mode).

One RESP3 connection asks for the invalidations and receives them itself, so that its loss is seen: it empties
the cache, and nothing is kept until it stands again. Over the same connection the journal of changes is kept
(`journal`), whose beats also prove that it lives.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.errors import StoreDown
from gateway.registry.change_log import Journal, Scribe
from gateway.registry.registry import Registry, changes
from gateway.store import keys
from gateway.store.address import Address
from gateway.store.connection import Link, Reply

_log = structlog.get_logger("tracking")

PREFIXES: Final = (
    keys.USER_PREFIX,
    keys.DEAD_PREFIX,
    *(f"{keys.CLIENT_PREFIX}{digit}" for digit in "0123456789bcdef"),
    *(f"{keys.CLIENT_PREFIX}a{digit}" for digit in "0123456789abcdef"),
)
"""Client ids are hex; RhoConnect's documents are `client:application:...` and change at every sync: kept out,
since no second hex digit is a `p`."""
REPLY_S: Final = 3.0
"""A beat without an answer for this long, or twice this, ends the connection: so much too old can an entry be."""


class Invalidations:
    """Keeps a registry's cache true, and the journal that snapshots are held against.

    Args:
        address: of RhoConnect's Redis.
        registry: whose cache it is.
        journal: what this process knows of changes.
        name: the listener's, no other's.
        lapsed: called when it turned out that perhaps nobody listened for a while.
    """

    def __init__(
        self,
        address: Address,
        registry: Registry,
        journal: Journal,
        name: str,
        lapsed: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._link = Link(
            address, "tracking", reply_s=REPLY_S, on_push=self._pushed, on_up=self._up, on_down=self._down
        )
        self.scribe = Scribe(self._link, journal, name, lapsed, lambda: registry.forget(None))

    async def open(self) -> None:
        """Begin to listen. A Redis without client tracking means no cache, said in the log."""
        await self._link.open(10.0)

    async def close(self) -> None:
        """Stop listening; the cache is emptied."""
        self.scribe.end()
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
            self.scribe.begin()

    def _down(self) -> None:
        self.scribe.end()
        self._registry.cache.trusted = False
        self._registry.forget(None)

    def _pushed(self, message: Any) -> None:
        if message[0] == b"invalidate":
            self._changed(message[1])

    def _changed(self, keys_changed: list[bytes] | None) -> None:
        if keys_changed is None:  # FLUSHDB: the journal went, too
            self._registry.forget(None)
            self.scribe.begin()
            return
        found = changes(keys_changed)
        self._registry.forget(found.names | found.syncs)
        if found.names:
            self.scribe.heard(found.names, found.written)
