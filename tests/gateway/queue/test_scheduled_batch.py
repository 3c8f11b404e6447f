"""Batches of the schedule: read, and without one of their pings."""

import pytest

from gateway.errors import UnreadableEntry
from gateway.queue import schedule
from gateway.queue.entries import Entry, encode
from gateway.queue.scheduled_batch import (
    EMPTY,
    ScheduledBatch,
    parse_scheduled,
    read_scheduled,
    was_cancelled,
)
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping

BATCH = "0" * 28
PINGS = tuple(Ping(users=(f"user{n}",), message="m" * (1 + 100 * n)) for n in range(3))


def body(*pings: Ping, kind: str = "p", chunks: int = 0) -> bytes:
    entry = Entry(BATCH, 1_700_000_000_000, pings, chunks)
    return schedule.body(len(pings), 300, kind, encode(entry), entry.accepted_ms)


def parsed(*pings: Ping, kind: str = "p", chunks: int = 0) -> ScheduledBatch:
    return parse_scheduled(5, body(*pings, kind=kind, chunks=chunks))


def test_a_batch_is_read_as_it_was_stored() -> None:
    batch = parsed(*PINGS)
    assert (batch.due_ms, batch.pings, batch.size, batch.is_broadcast) == (5, 3, 300, False)
    assert batch.entry == Entry(BATCH, 0, PINGS)
    assert [batch.has(index) for index in range(4)] == [True, True, True, False]


def test_a_cancelled_ping_leaves_an_empty_one_with_its_share_of_the_size() -> None:
    batch = parsed(*PINGS)
    rest = batch.without(2)
    assert rest is not None
    assert rest.entry.pings == (*PINGS[:2], EMPTY)
    assert [was_cancelled(ping) for ping in (*rest.entry.pings, Ping())] == [False, False, True, False]
    assert rest.pings == 2
    assert 100 < 300 - rest.size < 300  # it is the longest of the three
    assert parse_scheduled(5, rest.body) == rest
    assert [rest.has(index) for index in range(3)] == [True, True, False]
    last = rest.without(0)
    assert last is not None
    assert (last.pings, last.without(1)) == (1, None)


@pytest.mark.parametrize("kind", ["p", "b"])
def test_a_ping_without_anything_is_no_cancelled_one(kind: str) -> None:
    batch = parsed(Ping(), kind=kind, chunks=2)
    assert (batch.is_broadcast, batch.has(0), batch.without(0)) == (kind == "b", True, None)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"3 30 x",
        b"3 30 p ",
        b"-1 30 p \x90",
        body(*PINGS)[:-3],
        body(EMPTY, kind="b", chunks=2**62),
        body(EMPTY, kind="b", chunks=-1),
        body(*PINGS, kind="b", chunks=1),
    ],
)
def test_a_damaged_batch_is_unreadable(damaged: bytes) -> None:
    with pytest.raises(UnreadableEntry):
        parse_scheduled(5, damaged)


async def test_a_batch_that_is_not_there(connection: RedisConnection) -> None:
    assert await read_scheduled(connection, BATCH) is None
    await connection.call("ZADD", keys.SCHEDULED_PINGS, 5, BATCH)
    with pytest.raises(UnreadableEntry, match="no body"):
        await read_scheduled(connection, BATCH)
    await connection.call("HSET", keys.SCHEDULED_BODIES, BATCH, body(*PINGS))
    found = await read_scheduled(connection, BATCH)
    assert found is not None
    assert found.pings == 3
