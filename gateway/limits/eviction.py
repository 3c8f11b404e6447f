"""The connection limit of a port, and the choice of the connection that is closed for a new one.

| order | connection that is closed | the oldest by |
| --- | --- | --- |
| 1 | an unauthenticated one that waits for its client: idle, or with an incomplete request | time of its start |
| 2 | an idle one of any caller | time of its last use |

A connection is unauthenticated until it has carried valid credentials.

Callers without credentials therefore cannot displace callers with credentials: neither with connections that send
nothing nor with heads and bodies that never end. A new caller is unauthenticated until its first credentials are
checked, but its connection is the newest of these, and is closed last.

Connections are not kept in the order of their last use, since that would cost time for each ping. All of them are
sorted only when the limit is reached, and the result is used until it is empty. If no connection was idle, the sorting
is not repeated for `_RETRY_S`, so that a flood of connections does not cause one sorting each. Unauthenticated
connections are kept in the order of their start. A connection whose caller has authenticated since is removed from
this order by `trust`, or when the search for a connection to close reaches it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

_RETRY_S: Final = 0.1
_OWED_MAX: Final = 256
"""Most unauthenticated connections with a pending response that the search for one new connection skips."""


class EvictableConnection(Protocol):
    """The part of a connection that decides whether it makes room."""

    @property
    def idle_since(self) -> int | None:
        """The connection's number in the order of use while no response is pending, else None."""

    @property
    def trusted(self) -> bool:
        """Whether the connection has carried valid credentials."""

    @property
    def awaits_client(self) -> bool:
        """Whether no response is in preparation: the connection waits for its client to send or to read."""

    def abort(self) -> None:
        """Drop the connection."""


Member = TypeVar("Member", bound=EvictableConnection)


class ConnectionRegistry(dict[Member, None], Generic[Member]):
    """All connections of one port, oldest first.

    Args:
        is_full: whether the port has reached its limit.
        on_count: called with the number of connections after each change.

    Attributes:
        last_use: number of the latest use of a connection; it increases with each use.
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
        self._strangers: dict[Member, None] = {}  # oldest first; some may have become trusted

    def next_use(self) -> int:
        """Record a use of a connection, and return its number in the order of use."""
        self.last_use += 1
        return self.last_use

    def add(self, connection: Member) -> bool:
        """Add a new connection. False: the port is full, and no connection may be closed."""
        if self._is_full():
            closed = self._stranger() or self._oldest()
            if closed is None:
                return False
            self.remove(closed)
            closed.abort()  # not closed: a close waits until the client has read all responses
        self[connection] = self._strangers[connection] = None
        self._on_count(len(self))
        return True

    def replace(self, connection: Member, by: Member) -> None:
        """Replace the object of a connection that was handed over to another one."""
        self.pop(connection, None)
        self[by] = None
        if connection in self._strangers:
            del self._strangers[connection]
            self._strangers[by] = None

    def trust(self, connection: Member) -> None:
        """Remove a connection with valid credentials from the unauthenticated ones."""
        self._strangers.pop(connection, None)

    def remove(self, connection: Member) -> None:
        """Remove a closed connection, if it is registered."""
        self.pop(connection, None)
        self._strangers.pop(connection, None)
        self._on_count(len(self))

    def _stranger(self) -> Member | None:
        """The oldest unauthenticated connection that waits for its client. Trusted ones are removed on the way."""
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
