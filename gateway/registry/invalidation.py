"""Invalidation of the registry's cache by Redis (client-side caching, broadcast mode).

One RESP3 connection both enables the invalidations and receives them, so that its loss is detected: the cache is
then cleared, and nothing is cached until the connection is up again. The change log is maintained over the same
connection (`change_log`); its heartbeats also prove that the connection works.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.errors import StoreDown
from gateway.registry.change_log import ChangeLog, ChangeLogWriter
from gateway.registry.registry import DeviceRegistry, RegistryChanges, changes
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
"""Client ids are hex. RhoConnect's documents are `client:application:...` and change at every sync: they are
excluded, since no second hex digit is a `p`."""
REPLY_S: Final = 3.0
"""A heartbeat without a reply for once or twice this time ends the connection: an entry can be stale for so long."""


class InvalidationListener:
    """Keeps a registry's cache valid, and the change log by which snapshots are validated.

    Args:
        address: address of RhoConnect's Redis.
        registry: owner of the cache.
        change_log: the state of the change log in this process.
        name: unique name of the listener.
        on_lapse: called after a possible gap in listening.

    Attributes:
        on_changes: called with the changes of devices that Redis reports.
        on_tracked: called when Redis begins to report changes, at the start and after a gap.
    """

    def __init__(
        self,
        address: RedisAddress,
        registry: DeviceRegistry,
        change_log: ChangeLog,
        name: str,
        on_lapse: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_changes: Callable[[RegistryChanges], None] = _nothing_about
        self.on_tracked: Callable[[], None] = _nothing
        self._registry = registry
        self._connection = RedisConnection(
            address, "tracking", reply_s=REPLY_S, on_push=self._pushed, on_up=self._up, on_down=self._down
        )
        self.writer = ChangeLogWriter(
            self._connection, change_log, name, on_lapse, lambda: registry.invalidate(None)
        )

    async def open(self) -> None:
        """Start to listen. Without client tracking in Redis nothing is cached, which is logged."""
        await self._connection.open(10.0)

    async def close(self) -> None:
        """Stop listening and clear the cache."""
        self.writer.stop()
        await self._connection.close()

    def _up(self) -> None:
        words: list[str] = ["CLIENT", "TRACKING", "ON", "BCAST"]
        for prefix in PREFIXES:
            words += ["PREFIX", prefix]
        # Called before the connection is reported as up, while `call_then` already works.
        self._connection.call_then(words, self._tracking)

    def _tracking(self, reply: Reply) -> None:
        if isinstance(reply, StoreDown):
            _log.warning("client_tracking_unavailable", error=reply.message)
        else:
            self._registry.invalidate(None)
            self._registry.cache.enabled = True
            self.writer.start()
            self.on_tracked()

    def _down(self) -> None:
        self.writer.stop()
        self._registry.cache.enabled = False
        self._registry.invalidate(None)

    def _pushed(self, message: Any) -> None:
        if message[0] == b"invalidate":
            self._changed(message[1])

    def _changed(self, keys_changed: list[bytes] | None) -> None:
        if keys_changed is None:  # FLUSHDB: the change log is deleted, too
            self._registry.invalidate(None)
            self.writer.start()
            return
        found = changes(keys_changed)
        self._registry.invalidate(found.names | found.syncs)
        if found.syncs:
            self.on_changes(found)
        if found.names:
            self.writer.on_changes(found.names, found.written)


def _nothing() -> None:
    pass


def _nothing_about(_: RegistryChanges) -> None:
    pass
