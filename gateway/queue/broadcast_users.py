"""The users of broadcasts on their way to Redis, where they are stored beside the queue."""

from collections import deque
from typing import Final

from gateway.errors import StoreDown
from gateway.queue.broadcasts import store_users
from gateway.store import keys
from gateway.store.connection import RedisConnection, Reply

WAITING_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of broadcasts held in this process while Redis is slow; beyond this limit a broadcast is refused with 503
at once."""
ORPHANED_MAX: Final = 10_000
"""Most keys of refused broadcasts that wait for their removal, about 1 MB. Redis removes the others at the end of their
lifetime, `keys.BROADCAST_S`."""


class BroadcastUsers:
    """Stores the users of broadcasts before their entries are appended, and removes those of refused broadcasts.

    Args:
        connection: connection to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._bytes = 0
        self._orphaned: deque[str] = deque(maxlen=ORPHANED_MAX)

    def reserve(self, size: int) -> bool:
        """Count a broadcast of `size` bytes until `end`; False: there is no room. One alone always has room."""
        if self._bytes and self._bytes + size > WAITING_BYTES:
            return False
        self._bytes += size
        self._drop_orphaned()
        return True

    def end(self, ping_id: str, size: int, *, refused: bool) -> None:
        """End a broadcast that was counted; `refused`: no entry refers to its users."""
        self._bytes -= size
        if refused:
            self._orphaned.append(keys.broadcast_users(ping_id))
            self._drop_orphaned()

    async def store(self, ping_id: str, users: tuple[str, ...], wait_s: int) -> int:
        """Store the users of a broadcast, and return the number of chunks. It may be repeated.

        Args:
            ping_id: id of the broadcast.
            users: its users.
            wait_s: seconds until the broadcast is due.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        name = keys.broadcast_users(ping_id)
        return await store_users(self._connection, name, users, keys.BROADCAST_S + wait_s)

    def _drop_orphaned(self) -> None:
        """Delete the users of refused broadcasts; while Redis is unavailable, keep their keys for later."""
        if not self._connection.up:
            return
        names = list(self._orphaned)
        self._orphaned.clear()
        for name in names:

            def on_result(reply: Reply, name: str = name) -> None:
                if isinstance(reply, StoreDown):
                    self._orphaned.append(name)

            self._connection.call_then(("UNLINK", name), on_result)
