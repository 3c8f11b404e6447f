"""Which connection makes room for a new one, decided without sockets."""

from gateway.limits.connection_limits import ConnectionLimits
from gateway.limits.eviction import _OWED_MAX, ConnectionRegistry


class Connection:
    """A connection whose facts a test sets."""

    def __init__(
        self, *, idle_since: int | None = None, trusted: bool = False, awaits_client: bool = True
    ) -> None:
        self.idle_since = idle_since
        self.trusted = trusted
        self.awaits_client = awaits_client
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def registry(ceiling: int) -> tuple[ConnectionRegistry[Connection], ConnectionLimits]:
    limits = ConnectionLimits(ceiling)
    return ConnectionRegistry(limits.push_full, limits.count_push), limits


def closed(found: list[Connection]) -> list[int]:
    return [number for number, connection in enumerate(found) if connection.aborted]


async def test_the_oldest_unauthenticated_connection_that_waits_for_its_client_is_closed_first() -> None:
    connections, limits = registry(3)
    found = [Connection(awaits_client=False), Connection(), Connection(idle_since=1, trusted=True)]
    assert all(map(connections.add, found))
    assert limits.push == 3
    assert connections.add(Connection())
    assert closed(found) == [1]
    assert limits.push == 3


async def test_then_the_connection_idle_for_the_longest_time_is_closed() -> None:
    connections, _ = registry(3)
    found = [Connection(idle_since=since, trusted=True) for since in (3, 1, 2)]
    assert all(map(connections.add, found))
    assert connections.add(Connection(trusted=True))
    assert closed(found) == [1]


async def test_a_connection_that_is_used_again_keeps_its_place() -> None:
    connections, _ = registry(3)
    found = [Connection(idle_since=since, trusted=True) for since in (1, 2, 3)]
    assert all(map(connections.add, found))
    assert connections.add(Connection(idle_since=4, trusted=True))
    assert closed(found) == [0]
    found[1].idle_since = None  # a request came since the connections were looked at
    assert connections.add(Connection(idle_since=5, trusted=True))
    assert closed(found) == [0, 2]


async def test_with_pending_responses_everywhere_no_connection_is_closed() -> None:
    connections, limits = registry(2)
    found = [Connection(awaits_client=False), Connection(awaits_client=False, trusted=True)]
    assert all(map(connections.add, found))
    assert not connections.add(Connection())
    assert closed(found) == []
    assert limits.push == 2


async def test_a_flood_causes_no_search_for_each_connection() -> None:
    searches: list[Connection] = []

    class Busy(Connection):
        def __getattribute__(self, name: str) -> object:
            if name == "idle_since":
                searches.append(self)
            return super().__getattribute__(name)

    connections, _ = registry(2)
    assert all(map(connections.add, [Busy(trusted=True, awaits_client=False) for _ in range(2)]))
    assert [connections.add(Connection(awaits_client=False)) for _ in range(10)] == [False] * 10
    assert len(searches) == 2


async def test_a_trusted_connection_with_half_a_request_stays() -> None:
    connections, _ = registry(1)
    caller = Connection()
    assert connections.add(caller)
    connections.trust(caller)
    assert not connections.add(Connection())
    assert not caller.aborted


async def test_a_handed_over_connection_stays_unauthenticated_and_is_counted_once() -> None:
    connections, limits = registry(1)
    first, later = Connection(), Connection()
    assert connections.add(first)
    connections.replace(first, later)
    assert limits.push == len(connections) == 1
    assert connections.add(Connection())
    assert later.aborted
    assert not first.aborted


async def test_a_bounded_number_of_unauthenticated_connections_is_skipped() -> None:
    connections, _ = registry(_OWED_MAX + 1)
    found = [Connection(awaits_client=False) for _ in range(_OWED_MAX)] + [Connection()]
    assert all(map(connections.add, found))
    assert not connections.add(Connection())
    assert connections.add(Connection()), "the next one looks at the others first"
    assert closed(found) == [_OWED_MAX]


async def test_a_removed_connection_is_no_longer_counted() -> None:
    connections, limits = registry(1)
    gone = Connection()
    assert connections.add(gone)
    connections.remove(gone)
    assert limits.push == 0
    connections.remove(gone)
    assert connections.add(Connection())
    assert not gone.aborted
