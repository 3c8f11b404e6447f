"""The ceiling of connections on the main port: the connection that has been idle for longest makes room.

Connections do not keep themselves in an order: that would cost each ping. Only at the ceiling all are looked at, and
their order is then used up; a look that found none is not repeated for `_AGAIN_S`, so that a flood of connections
does not make it a habit.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.connection_limits import ConnectionLimits

if TYPE_CHECKING:
    from gateway.doors.front import Connection
    from gateway.doors.handed import Handed

    Member: TypeAlias = Connection | Handed

_AGAIN_S: Final = 0.1


class Connections(dict["Member", None]):
    """All connections of the main port, oldest first.

    Args:
        limits: how many there may be.

    Attributes:
        uses: grows with each use of a connection: the order of use.
    """

    __slots__ = ("_again_s", "_limits", "_loop", "_order", "uses")

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.uses = 0
        self._order: deque[tuple[int, Member]] = deque()
        self._again_s = 0.0

    def next_use(self) -> int:
        """A connection is used: its place in the order of use."""
        self.uses += 1
        return self.uses

    def enter(self, connection: "Member") -> bool:
        """Add a new connection. False: there is no room, and no idle connection to close."""
        if self._limits.main_full():
            oldest = self._oldest()
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.close_idle()
        self[connection] = None
        self._limits.main = len(self)
        return True

    def leave(self, connection: "Member") -> None:
        """Forget one that is gone, if it is known."""
        self.pop(connection, None)
        self._limits.main = len(self)

    def _oldest(self) -> "Member | None":
        found = self._next()
        if found is None and self._loop.time() >= self._again_s:
            idle = [(since, one) for one in self if (since := one.idle_since) is not None]
            self._order = deque(sorted(idle, key=lambda pair: pair[0]))
            found = self._next()
            if found is None:
                self._again_s = self._loop.time() + _AGAIN_S
        return found

    def _next(self) -> "Member | None":
        while self._order:
            since, connection = self._order.popleft()
            if connection in self and connection.idle_since == since:
                return connection
        return None
