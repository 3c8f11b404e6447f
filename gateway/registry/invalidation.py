"""Redis tells which keys of the registry changed (client-side caching, broadcast mode).

One RESP3 connection asks for the invalidations and receives them itself, so that its loss is seen: it empties
the cache, and nothing is kept until it stands again. Over the same connection the journal of changes is kept
(`change_log`), whose beats also prove that it lives.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.errors import StoreDown
from gateway.registry.change_log import ChangeLog, ChangeLogWriter
from gateway.registry.registry import DeviceRegistry, changes
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, Reply

_log = structlog.get_logger("invalidation")

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


class InvalidationListener:
    """Keeps a registry's cache true, and the journal that snapshots are held against.

    Args:
        address: of RhoConnect's Redis.
        registry: whose cache it is.
        change_log: what this process knows of changes.
        name: the listener's, no other's.
        on_lapse: called when it turned out that perhaps nobody listened for a while.
    """

    def __init__(
        self,
        address: RedisAddress,
        registry: DeviceRegistry,
        change_log: ChangeLog,
        name: str,
        on_lapse: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._connection = RedisConnection(
            address, "tracking", reply_s=REPLY_S, on_push=self._pushed, on_up=self._up, on_down=self._down
        )
        self.writer = ChangeLogWriter(
            self._connection, change_log, name, on_lapse, lambda: registry.invalidate(None)
        )

    async def open(self) -> None:
        """Begin to listen. A Redis without client tracking means no cache, said in the log."""
        await self._connection.open(10.0)

    async def close(self) -> None:
        """Stop listening; the cache is emptied."""
        self.writer.stop()
        await self._connection.close()

    def _up(self) -> None:
        words: list[str] = ["CLIENT", "TRACKING", "ON", "BCAST"]
        for prefix in PREFIXES:
            words += ["PREFIX", prefix]
        # Called before the link is announced as up, while `call_then` already works.
        self._connection.call_then(words, self._tracking)

    def _tracking(self, reply: Reply) -> None:
        if isinstance(reply, StoreDown):
            _log.warning("client_tracking_unavailable", error=reply.message)
        else:
            self._registry.invalidate(None)
            self._registry.cache.enabled = True
            self.writer.start()

    def _down(self) -> None:
        self.writer.stop()
        self._registry.cache.enabled = False
        self._registry.invalidate(None)

    def _pushed(self, message: Any) -> None:
        if message[0] == b"invalidate":
            self._changed(message[1])

    def _changed(self, keys_changed: list[bytes] | None) -> None:
        if keys_changed is None:  # FLUSHDB: the journal went, too
            self._registry.invalidate(None)
            self.writer.start()
            return
        found = changes(keys_changed)
        self._registry.invalidate(found.names | found.syncs)
        if found.names:
            self.writer.on_changes(found.names, found.written)
