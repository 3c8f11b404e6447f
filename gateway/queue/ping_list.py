"""Lists of pings, the newest first, from the entries and receipts in Redis. Nothing is written for a list.

| source | states | instant by which it is ordered |
| --- | --- | --- |
| entries of the streams of pings and broadcasts | queued | the append, by Redis' clock |
| the sorted set of receipts | open, done, cancelled | the first verdict or the cancellation, by Redis' clock |

A page follows its cursor. A ping that gets its first verdict between two pages may therefore be missing in both, since
it moves to the front of the list.
"""

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from gateway.errors import BAD_DATA, StoreDown
from gateway.queue.entries import PING_INDEXES, Entry, decoder, encode, leases_of, read_entry
from gateway.queue.receipts import CANCELLED, DONE, OPEN, QUEUED, batch_reports
from gateway.registry.scopes import is_visible
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.pages import page_size
from protocols.errors import InvalidField
from protocols.instants import MS_MAX, instant_text, ms_of_score
from protocols.numbers import stored

LIMIT: Final = 50
LIMIT_MAX: Final = 500
EXAMINED_MAX: Final = 5_000
"""Most pings examined for one page. A page of a rare state may end before it is full; its cursor continues the list."""
_ENTRIES_READ: Final = 16
"""Entries or receipts read at once: each holds up to `keys.ENTRY_PINGS` pings."""
_CURSOR_CHARACTERS: Final = 200
_MS_MAX: Final = 10**15


class Position(NamedTuple):
    """The position of a ping in the order of the list: a larger one comes first.

    Attributes:
        at_ms: epoch ms of the instant by which the ping is ordered.
        key: orders entries and receipts of the same instant.
        ping_index: the ping's index in its batch.
    """

    at_ms: int
    key: str
    ping_index: int


class ListQuery(NamedTuple):
    """The query of a caller.

    Attributes:
        state: only pings in this state; None: all.
        limit: most pings of a page.
        after: the position of the last ping that the caller has seen; None: from the newest on.
    """

    state: str | None = None
    limit: int = LIMIT
    after: Position | None = None


class ListedPing(NamedTuple):
    """A ping with its position; `item` is None if the ping is not part of the list."""

    position: Position
    item: dict[str, Any] | None


class PingSource(Protocol):
    """A part of Redis in which pings are stored, for the list."""

    @property
    def states(self) -> frozenset[str]:
        """The states that its pings can have."""
        ...

    def walk(self, query: ListQuery) -> AsyncIterator[ListedPing]:
        """Yield the pings of this source behind `query.after`, in the order of the list."""
        ...


def parse_query(states: frozenset[str], state: str | None, limit: object, cursor: str | None) -> ListQuery:
    """Read the parameters of a request for a list; None: the parameter is absent.

    Raises:
        InvalidField: a parameter has no valid value. It names the parameter.
    """
    if state is not None and state not in states:
        raise InvalidField(f"state must be one of {', '.join(sorted(states))}", field="state")
    size = page_size(limit, LIMIT, LIMIT_MAX)
    return ListQuery(state, size, None if cursor is None else _parse_cursor(cursor))


ScoredBatch = tuple[bytes, int]
"""A batch in a sorted set: its member, and its score in epoch ms."""


async def walk_batches(
    connection: RedisConnection,
    key: str,
    count: int,
    query: ListQuery,
    pings_of: Callable[[Sequence[ScoredBatch]], AsyncIterator[Sequence[ListedPing]]],
) -> AsyncIterator[ListedPing]:
    """Yield the pings behind `query.after` of the batches in a sorted set, from the highest score down.

    Args:
        connection: to the queue's Redis.
        key: the sorted set.
        count: batches that are read at once.
        query: the query.
        pings_of: yields the pings of each of these batches, the last one first.
    """
    upto = "+inf" if query.after is None else str(query.after.at_ms)
    after, seen = query.after, 0
    while True:
        flat = await connection.call(
            *("ZRANGE", key, upto, "-inf", "BYSCORE", "REV", "LIMIT", seen, count, "WITHSCORES")
        )
        scores = [ms_of_score(score) for score in flat[1::2]]
        async for pings in pings_of([*zip(flat[::2], scores, strict=True)]):
            for one in pings:
                # A batch that was added or removed meanwhile moves all others: some are read twice.
                if after is None or one.position < after:
                    after = one.position
                    yield one
        if len(scores) < count:
            return
        seen += count


class PingList:
    """Lists the pings.

    Args:
        connection: to the queue's Redis.
        sources: further parts of Redis in which pings are stored, such as a schedule of pings.
    """

    def __init__(self, connection: RedisConnection, sources: Sequence[PingSource] = ()) -> None:
        self._sources: Final[Sequence[PingSource]] = (
            _QueuedPings(connection, keys.PINGS),
            _QueuedPings(connection, keys.BROADCASTS),
            _SettledPings(connection),
            *sources,
        )

    @property
    def states(self) -> frozenset[str]:
        """The states by which a list can be narrowed."""
        return frozenset().union(*(source.states for source in self._sources))

    async def page(
        self,
        state: str | None = None,
        limit: object = None,
        cursor: str | None = None,
        apps: frozenset[str] | None = None,
    ) -> dict[str, Any]:
        """One page: `pings`, and `next_cursor` (None: there are no more).

        Args:
            state, limit, cursor: as the caller sent them.
            apps: the caller's limit to apps: only pings that were sent with a limit to some of them; None: all pings.

        Each ping has `ping_id`, `state`, `accepted_at` (RFC 3339), `ingress` (None if only the receipt is left,
        which does not contain it) and `counts`.

        Raises:
            InvalidField: a parameter has no valid value.
            StoreDown: Redis did not answer.
        """
        query = parse_query(self.states, state, limit, cursor)
        sources = [
            source.walk(query)
            for source in self._sources
            if query.state is None or query.state in source.states
        ]
        pings: list[dict[str, Any]] = []
        examined = 0
        async for position, item in _merge(sources):
            examined += 1
            if (
                item is not None
                and query.state in (None, item["state"])
                and is_visible(item.get("apps"), apps)
            ):
                pings.append(item)
            if len(pings) == query.limit or examined >= EXAMINED_MAX:
                return {"pings": pings, "next_cursor": format_cursor(position)}
        return {"pings": pings, "next_cursor": None}


class _QueuedPings:
    """The pings of the entries of one stream that have no receipt yet."""

    states = frozenset({QUEUED})

    def __init__(self, connection: RedisConnection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def walk(self, query: ListQuery) -> AsyncIterator[ListedPing]:
        """See `PingSource.walk`."""
        upto = "+" if query.after is None else str(query.after.at_ms)
        while True:
            found = await self._connection.call("XREVRANGE", self._stream, upto, "-", "COUNT", _ENTRIES_READ)
            for lease in leases_of(self._stream, found, redelivered=True):
                for one in await self._of_entry(lease.entry, lease.payload):
                    if query.after is None or one.position < query.after:
                        yield one
            if len(found) < _ENTRIES_READ:
                return
            upto = "(" + found[-1][0].decode()

    async def _of_entry(self, entry_id: str, payload: bytes) -> Sequence[ListedPing]:
        try:
            entry = read_entry(payload)
        except BAD_DATA:  # the worker that reads it quarantines it
            return ()
        receipt = await _read_receipt(self._connection, entry.batch_id)
        known = {index for index, _ in batch_reports(entry.batch_id, receipt)}
        ms, _, sequence = entry_id.partition("-")
        key = f"{self._stream}{stored(sequence):020}"
        return [
            ListedPing(Position(stored(ms), key, index), waiting_item(entry, index, QUEUED))
            for index in reversed(range(len(entry.pings)))
            if index not in known
        ]


class _SettledPings:
    """The pings of the receipts."""

    states = frozenset({OPEN, DONE, CANCELLED})

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def walk(self, query: ListQuery) -> AsyncIterator[ListedPing]:
        """See `PingSource.walk`."""
        return walk_batches(self._connection, keys.RECEIPTS, _ENTRIES_READ, query, self._of_receipts)

    async def _of_receipts(self, receipts: Sequence[ScoredBatch]) -> AsyncIterator[Sequence[ListedPing]]:
        for key, at_ms in receipts:
            yield await self._of_receipt(key.decode("utf-8", "replace"), at_ms)

    async def _of_receipt(self, key: str, at_ms: int) -> Sequence[ListedPing]:
        batch_id = key.removeprefix(keys.receipt(""))
        if _accepted_ms(batch_id) is None:
            return ()
        reports = [*batch_reports(batch_id, await _read_receipt(self._connection, batch_id))]
        return [
            ListedPing(Position(at_ms, batch_id, index), item_of(report, None))
            for index, report in reversed(reports)
        ]


async def _read_receipt(connection: RedisConnection, batch_id: str) -> dict[str, bytes]:
    """The fields of a batch's receipt; empty if its key has another type."""
    try:
        flat: Sequence[bytes] = await connection.call("HGETALL", keys.receipt(batch_id))
    except StoreDown as error:
        if not error.of_data:
            raise
        return {}
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {name.decode("utf-8", "replace"): value for name, value in pairs}


def _accepted_ms(batch_id: str) -> int | None:
    """The time at which the pings of a batch were accepted, in epoch ms; None if the text is not the id of a batch."""
    try:
        return int(batch_id[:12], 16) if len(batch_id) == 28 and batch_id.isalnum() else None
    except ValueError:
        return None


def format_cursor(position: Position) -> str:
    """Return a cursor for the caller; its content is not part of the interface."""
    return base64.urlsafe_b64encode(encode(tuple(position))).decode().rstrip("=")


def _parse_cursor(cursor: str) -> Position:
    position = _read_position(cursor) if len(cursor) <= _CURSOR_CHARACTERS else None
    if position is None or not 0 <= position.at_ms <= _MS_MAX:
        raise InvalidField("cursor must be the next_cursor of an earlier page", field="cursor")
    return position


def _read_position(cursor: str) -> Position | None:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return Position(*_decode_position(packed))
    except ValueError:  # includes msgspec's errors and binascii's
        return None


_decode_position: Final = decoder(tuple[int, str, int])


async def _merge(sources: Sequence[AsyncIterator[ListedPing]]) -> AsyncIterator[ListedPing]:
    """The pings of several sources, each in order, as one list in order."""
    heads = [(first, source) for source in sources if (first := await anext(source, None)) is not None]
    while heads:
        number = max(range(len(heads)), key=lambda number: heads[number][0].position)
        first, source = heads[number]
        yield first
        following = await anext(source, None)
        if following is None:
            del heads[number]
        else:
            heads[number] = following, source


def waiting_item(entry: Entry, index: int, state: str) -> dict[str, Any]:
    """A ping of the list that has no verdict yet, by its entry and its index there."""
    ping = entry.pings[index]
    report = {"ping_id": entry.batch_id + PING_INDEXES[index], "state": state, "counts": {}}
    return item_of(report if ping.apps is None else report | {"apps": [*ping.apps]}, ping.ingress)


def item_of(report: dict[str, Any], ingress: str | None) -> dict[str, Any]:
    """A ping of the list, by its report (`receipts.Receipts.report`) and its ingress."""
    accepted_ms = _accepted_ms(report["ping_id"][:28]) or 0
    return {
        "ping_id": report["ping_id"],
        "state": report["state"],
        "accepted_at": instant_text(accepted_ms) if accepted_ms <= MS_MAX else None,
        "ingress": ingress,
        "counts": report["counts"],
    } | ({"apps": report["apps"]} if "apps" in report else {})
