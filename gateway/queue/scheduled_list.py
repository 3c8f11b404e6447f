"""The scheduled pings for the list of pings (`gateway.queue.ping_list`), the latest instant first."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from gateway.errors import UnreadableEntry
from gateway.queue.ping_list import ListedPing, ListQuery, Position, ScoredBatch, waiting_item, walk_batches
from gateway.queue.receipts import SCHEDULED
from gateway.queue.scheduled_batch import ScheduledBatch, parse_scheduled
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.instants import instant_text

_BATCHES_READ: Final = 16
"""Batches read at once: each holds up to `keys.ENTRY_PINGS` pings."""


class ScheduledPings:
    """The pings of the schedule, ordered by their `deliver_at`.

    Args:
        connection: to the queue's Redis.
    """

    states = frozenset({SCHEDULED})

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def walk(self, query: ListQuery) -> AsyncIterator[ListedPing]:
        """See `PingSource.walk`."""
        return walk_batches(self._connection, keys.SCHEDULED_PINGS, _BATCHES_READ, query, self._of_batches)

    async def _of_batches(self, batches: Sequence[ScoredBatch]) -> AsyncIterator[Sequence[ListedPing]]:
        names = [name for name, _ in batches]
        bodies = await self._connection.call("HMGET", keys.SCHEDULED_BODIES, *names) if names else ()
        for (_, due_ms), body in zip(batches, bodies, strict=True):
            yield _pings_of(due_ms, body)


def _pings_of(due_ms: int, body: bytes | None) -> Sequence[ListedPing]:
    """The pings of a batch, the last one first; none if it cannot be read."""
    try:
        batch = parse_scheduled(due_ms, body or b"")
    except UnreadableEntry:  # the worker that reads it after its release quarantines it
        return ()
    indexes = reversed(range(len(batch.entry.pings)))
    return [_listed(batch, index) for index in indexes if batch.has(index)]


def _listed(batch: ScheduledBatch, index: int) -> ListedPing:
    item = waiting_item(batch.entry, index, SCHEDULED) | {"deliver_at": instant_text(batch.due_ms)}
    return ListedPing(Position(batch.due_ms, batch.entry.batch_id, index), item)
