"""Pings that have no verdict yet, as their entries in the queue and in the schedule hold them."""

import re
from typing import Final

from gateway.errors import BAD_DATA
from gateway.queue.entries import encode, leases_of, read_entry
from gateway.queue.schedule import INSTANT_AT
from gateway.store import keys
from gateway.store.connection import RedisConnection

ATTEMPTS: Final = 4
"""Appends of one batch whose markers are read; a further append only follows if both a reply and a request were
lost."""
_SCHEDULED: Final = re.compile(rb"\d+ \d+ [pb] ")


async def waiting_apps(connection: RedisConnection, batch_id: str, ping_index: int) -> tuple[str, ...] | None:
    """The limit to apps of a ping in the queue or on the schedule; None: it has none, or is not there.

    Raises:
        StoreDown: Redis did not answer.
    """
    for payload in (*await _queued(connection, batch_id), *await _scheduled(connection, batch_id)):
        try:
            pings = read_entry(payload).pings
        except BAD_DATA:  # the worker that reads it puts it aside
            continue
        if ping_index < len(pings):
            return pings[ping_index].apps
    return None


async def _queued(connection: RedisConnection, batch_id: str) -> list[bytes]:
    """The entries that the markers of a batch name."""
    markers = [keys.marker(batch_id, attempt) for attempt in range(ATTEMPTS)]
    found: list[bytes] = []
    for entry in await connection.call("MGET", *markers):
        if entry in (None, keys.VOID, keys.IN_SCHEDULE):
            continue
        for stream in (keys.PINGS, keys.BROADCASTS):
            entries = await connection.call("XRANGE", stream, entry, entry)
            found += [
                lease.payload
                for lease in leases_of(stream, entries, redelivered=True)
                if batch_id.encode() in lease.payload
            ]
    return found


async def _scheduled(connection: RedisConnection, batch_id: str) -> list[bytes]:
    """The entry of a batch on the schedule, whose body lacks the instant of acceptance."""
    body = await connection.call("HGET", keys.SCHEDULED_BODIES, batch_id)
    counts = None if body is None else _SCHEDULED.match(body)
    if counts is None:
        return []
    packed = body[counts.end() :]
    return [packed[:INSTANT_AT] + encode(0) + packed[INSTANT_AT:]]
