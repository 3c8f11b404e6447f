"""Which connection has been idle for longest, asked only at the ceiling of connections.

Connections do not keep themselves in an order: that would cost each ping. All are looked at once, and their order is
then used up; a look that found none is not repeated for `_AGAIN_S`, so that a flood does not make it a habit.
"""

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from gateway.doors.front import Connection
    from gateway.doors.handed import Handed

    Member: TypeAlias = Connection | Handed

_AGAIN_S: Final = 0.1


class IdleConnections:
    """The order of idle connections.

    Args:
        connections: all of them.
    """

    def __init__(self, connections: "Mapping[Member, object]") -> None:
        self._connections = connections
        self._order: deque[tuple[int, Member]] = deque()
        self._again_s = 0.0

    def oldest(self, now_s: float) -> "Member | None":
        """The connection that has been idle for longest; None: none is idle.

        Args:
            now_s: monotonic seconds.
        """
        found = self._next()
        if found is None and now_s >= self._again_s:
            self._look()
            found = self._next()
            if found is None:
                self._again_s = now_s + _AGAIN_S
        return found

    def _next(self) -> "Member | None":
        while self._order:
            since, connection = self._order.popleft()
            if connection in self._connections and connection.idle_since == since:
                return connection
        return None

    def _look(self) -> None:
        idle = [(since, one) for one in self._connections if (since := one.idle_since) is not None]
        self._order = deque(sorted(idle, key=lambda pair: pair[0]))
