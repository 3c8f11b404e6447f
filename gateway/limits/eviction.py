"""The ceiling of connections on a port: which connection makes room for a new one.

| order | closed | oldest by |
| --- | --- | --- |
| 1 | a stranger that awaits its client: idle, or with a request that is not whole | its beginning |
| 2 | an idle connection of any caller | its last use |

A stranger is a connection on which no valid credentials came.

A caller without credentials therefore cannot take the places of those with some: neither with connections that send
nothing nor with heads and bodies that never end. A new caller is a stranger until its first credentials are judged, and
by its beginning it is the last of them.

Connections do not keep themselves in an order of use: that would cost each ping. Only at the ceiling all are looked at,
and their order is then used up; a look that found none is not repeated for `_RETRY_S`, so that a flood of connections
does not make it a habit. Strangers are kept in the order in which they came; a connection whose caller was judged
meanwhile is taken out when it is met, or by `trust`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

_RETRY_S: Final = 0.1
_OWED_MAX: Final = 256
"""Strangers with an answer under way that are passed over for one new connection."""


class EvictableConnection(Protocol):
    """The part of a connection that decides whether it makes room."""

    @property
    def idle_since(self) -> int | None:
        """The connection's place in the order of use while no response is owed, else None."""

    @property
    def trusted(self) -> bool:
        """Whether valid credentials came over this connection."""

    @property
    def awaits_client(self) -> bool:
        """Whether no response is being made: the connection waits for its client to send or to read."""

    def abort(self) -> None:
        """Drop the connection."""


Member = TypeVar("Member", bound=EvictableConnection)


class ConnectionRegistry(dict[Member, None], Generic[Member]):
    """All connections of one port, oldest first.

    Args:
        is_full: whether the port has as many connections as it may.
        on_count: called with the number of connections after each change of it.

    Attributes:
        last_use: grows with each use of a connection: the order of use.
    """

    __slots__ = ("_again_s", "_is_full", "_loop", "_on_count", "_order", "_strangers", "last_use")

    def __init__(self, is_full: Callable[[], bool], on_count: Callable[[int], None]) -> None:
        super().__init__()
        self._is_full = is_full
        self._on_count = on_count
        self._loop = asyncio.get_running_loop()
        self.last_use = 0
        self._order: deque[tuple[int, Member]] = deque()
        self._again_s = 0.0
        self._strangers: dict[Member, None] = {}  # oldest first; some may be trusted by now

    def next_use(self) -> int:
        """A connection is used: its place in the order of use."""
        self.last_use += 1
        return self.last_use

    def add(self, connection: Member) -> bool:
        """Add a new connection. False: there is no room, and no connection that may be closed."""
        if self._is_full():
            closed = self._stranger() or self._oldest()
            if closed is None:
                return False
            self.remove(closed)
            closed.abort()  # it may have answers that its client never reads: a close would wait for that
        self[connection] = self._strangers[connection] = None
        self._on_count(len(self))
        return True

    def replace(self, connection: Member, by: Member) -> None:
        """A connection is handed over: another object has its place."""
        self.pop(connection, None)
        self[by] = None
        if connection in self._strangers:
            del self._strangers[connection]
            self._strangers[by] = None

    def trust(self, connection: Member) -> None:
        """Valid credentials came over a connection: it is no stranger, and takes no memory as one."""
        self._strangers.pop(connection, None)

    def remove(self, connection: Member) -> None:
        """Forget one that is gone, if it is known."""
        self.pop(connection, None)
        self._strangers.pop(connection, None)
        self._on_count(len(self))

    def _stranger(self) -> Member | None:
        """The oldest stranger that awaits its client. Each one that is trusted by now is met once."""
        owed = 0
        while self._strangers and owed < _OWED_MAX:
            first = next(iter(self._strangers))
            del self._strangers[first]
            if first.trusted:
                continue
            if first.awaits_client:
                return first
            self._strangers[first] = None
            owed += 1
        return None

    def _oldest(self) -> Member | None:
        found = self._next()
        if found is None and self._loop.time() >= self._again_s:
            idle = [(since, one) for one in self if (since := one.idle_since) is not None]
            self._order = deque(sorted(idle, key=lambda pair: pair[0]))
            found = self._next()
            if found is None:
                self._again_s = self._loop.time() + _RETRY_S
        return found

    def _next(self) -> Member | None:
        while self._order:
            since, connection = self._order.popleft()
            if connection in self and connection.idle_since == since:
                return connection
        return None
