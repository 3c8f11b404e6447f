"""Quarantined entries: the notifications about their pings, and the number of records."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import Streams
from gateway.queue.entries import EntryOutline, Lease
from gateway.queue.receipts import Receipts
from gateway.queue.unreadable import UNREADABLE, verdict_arguments
from gateway.store import keys
from gateway.store.connection import RedisConnection

BATCH = "0" * 28
NOW_MS = 1_795_600_000_000


@pytest.fixture
async def streams(connection: RedisConnection) -> AsyncIterator[Streams]:
    made = Streams(connection, "tested:0", 3_600)
    await made.prepare()
    yield made


async def held(redis: Redis, stream: str, payload: bytes = b"?") -> Lease:
    """An entry that this consumer has read."""
    entry = await redis.xadd(stream, {"e": payload, "n": 1, "s": 10})
    await redis.xreadgroup(keys.GROUP, "tested:0", {stream: ">"})
    return Lease(stream, entry.decode(), payload, 1, 10, redelivered=False)


def test_without_ids_no_request_is_notified() -> None:
    lease = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)
    assert verdict_arguments(lease, None) == [0, 0]


def test_each_ping_has_a_record_and_each_waiting_request_is_notified() -> None:
    lease = Lease(keys.PINGS, "1-0", b"", 3, 1, redelivered=False)
    found = verdict_arguments(lease, EntryOutline(BATCH, ((0, "channel"), (1, ""), (2, "channel"))))
    assert (found[0], found[1], found[3]) == (1, "base", 0)
    assert len(msgspec.msgpack.decode(found[2])) == 3
    assert found[4:] == [2, "channel", f"{BATCH}0000", "channel", f"{BATCH}0002"]


def test_a_chunk_ends_the_deliveries_of_its_devices_and_is_no_longer_open() -> None:
    lease = Lease(keys.RETRIES, "7-1", b"", 0, 1, redelivered=False)
    found = verdict_arguments(lease, EntryOutline(BATCH, ((5, ""),), ("ab", "cd")))
    assert found[0] == 2
    assert found[4:] == ["5:open", -1, 1, 0]
    assert b"ab" in found[2]
    assert UNREADABLE.encode() in found[2]


async def test_it_is_recorded_once_with_its_fields(streams: Streams, redis_client: Redis) -> None:
    lease = await held(redis_client, keys.PINGS)
    assert await streams.quarantine(lease, "no entry", NOW_MS)
    assert not await streams.quarantine(lease, "no entry", NOW_MS)
    ((_, record),) = await redis_client.xrange(keys.UNREADABLE)
    assert (record[b"stream"], record[b"reason"]) == (keys.PINGS.encode(), b"no entry")
    assert msgspec.msgpack.decode(record[b"fields"]) == [b"e", b"?", b"n", b"1", b"s", b"10"]
    assert await redis_client.xlen(keys.PINGS) == 0
    assert int(await redis_client.hget(keys.STATS, "unreadable_bytes") or 0) > 0


async def test_the_oldest_records_are_dropped(
    streams: Streams, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "UNREADABLE_MAX", 2)
    for number in range(4):
        await streams.quarantine(await held(redis_client, keys.PINGS), f"reason {number}", NOW_MS)
    kept = await redis_client.xrange(keys.UNREADABLE)
    assert [record[b"reason"] for _, record in kept] == [b"reason 2", b"reason 3"]
    sizes = sum(int(record[b"size"]) for _, record in kept)
    assert int(await redis_client.hget(keys.STATS, "unreadable_bytes") or 0) == sizes


async def test_its_pings_are_reported_as_unreadable(streams: Streams, redis_client: Redis) -> None:
    ping = [["bob"]]
    payload = msgspec.msgpack.encode([BATCH, NOW_MS, ping])
    await streams.quarantine(await held(redis_client, keys.PINGS, payload), "no ping", NOW_MS)
    report = await Receipts(streams._connection).report(f"{BATCH}0000")
    assert report is not None
    assert (report["state"], report["skipped"]) == ("done", {UNREADABLE: 1})
