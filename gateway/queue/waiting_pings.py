"""Pings that have no verdict yet, read from their entries in the queue and on the schedule."""

from collections.abc import Sequence
from typing import Final

from gateway.errors import BAD_DATA
from gateway.queue.batch_search import find_entry
from gateway.queue.entries import Lease, leases_of, read_entry
from gateway.queue.scheduled_batch import read_scheduled
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection
from protocols.ping.model import Ping

ATTEMPTS: Final = 4
"""Appends of one batch whose markers are read; a further append only follows if both a reply and a request were
lost."""


async def waiting_apps(connection: RedisConnection, batch_id: str, ping_index: int) -> tuple[str, ...] | None:
    """The limit to apps of a ping in the queue or on the schedule; None: it has none, or is not there.

    Raises:
        StoreDown: Redis did not answer.
    """
    for pings in (*await _queued(connection, batch_id), await _scheduled(connection, batch_id)):
        if ping_index < len(pings):
            return pings[ping_index].apps
    return None


async def _queued(connection: RedisConnection, batch_id: str) -> list[Sequence[Ping]]:
    """The pings of the entries that the markers of a batch name or, after their lifetime, that are found."""
    markers = [keys.marker(batch_id, attempt) for attempt in range(ATTEMPTS)]
    named = [
        entry
        for entry in await connection.call("MGET", *markers)
        if entry not in (None, keys.VOID, keys.IN_SCHEDULE)
    ]
    found: list[Sequence[Ping]] = []
    for stream in (keys.PINGS, keys.BROADCASTS):
        for entry in named:
            found += await _pings_at(connection, stream, entry, batch_id)
        if not named and (entry := await find_entry(connection, stream, batch_id)):
            found += await _pings_at(connection, stream, entry, batch_id)
    return found


async def _pings_at(
    connection: RedisConnection, stream: str, entry: Argument, batch_id: str
) -> list[Sequence[Ping]]:
    """The pings of an entry, if it has this batch."""
    entries = await connection.call("XRANGE", stream, entry, entry)
    return [
        _pings(lease.payload)
        for lease in leases_of(stream, entries, redelivered=True)
        if batch_id.encode() in lease.payload
    ]


def has_ping(leases: Sequence[Lease], ping_index: int) -> bool:
    """Whether one of these entries has a ping with this index. An entry that cannot be read may have it: a worker
    quarantines it."""
    if not ping_index:
        return True
    found = [_pings(lease.payload) for lease in leases]
    return any(not pings or ping_index < len(pings) for pings in found)


def _pings(payload: bytes) -> Sequence[Ping]:
    """The pings of an entry; empty if it cannot be read: a worker quarantines it."""
    try:
        return read_entry(payload).pings
    except BAD_DATA:
        return ()


async def _scheduled(connection: RedisConnection, batch_id: str) -> Sequence[Ping]:
    """The pings of a batch on the schedule; empty if it cannot be read: a worker quarantines it when it is due."""
    try:
        found = await read_scheduled(connection, batch_id)
    except BAD_DATA:
        return ()
    return () if found is None else found.entry.pings
