"""Records of unreadable entries: pages, and the entry that is appended again with its counters."""

import pytest
from redis.asyncio import Redis

from gateway.errors import NotFound, NotStored
from gateway.queue.consumer import Streams
from gateway.queue.entries import Chunk, Entry, Lease, encode
from gateway.queue.quarantine import PAGE_MAX, Quarantine
from gateway.queue.receipts import Receipts
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.errors import InvalidField
from protocols.ping.model import Ping

BATCH = "0" * 28
PING_ID = BATCH + "0000"
NOW_MS = 1_795_600_000_000
ENTRY = encode(Entry(BATCH, NOW_MS, (Ping(users=("bob",), message="hello"),)))
RETRY = encode(Chunk(Ping(id=PING_ID, users=()), clients=("c1", "c2")))
COUNTERS = ("pings", "bytes", "receipt_bytes", "unreadable_bytes")


@pytest.fixture
async def streams(connection: RedisConnection) -> Streams:
    made = Streams(connection, "tested:0", 3_600)
    await made.prepare()
    return made


async def quarantined(streams: Streams, redis: Redis, stream: str, payload: bytes, pings: int = 1) -> str:
    """The id of the record of an entry."""
    entry = await redis.xadd(stream, {"e": payload, "n": pings, "s": 10 * pings})
    await redis.xreadgroup(keys.GROUP, "tested:0", {stream: ">"})
    lease = Lease(stream, entry.decode(), payload, pings, 10 * pings, redelivered=False)
    assert await streams.quarantine(lease, "a reason", NOW_MS)
    ((record, _),) = await redis.xrevrange(keys.UNREADABLE, count=1)
    return str(record.decode())


async def counters(redis: Redis) -> list[int]:
    return [int(count or 0) for count in await redis.hmget(keys.STATS, *COUNTERS)]


async def test_the_pings_of_a_requeued_entry_are_queued_again(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.hset(keys.STATS, mapping={"pings": 5, "bytes": 50, "receipt_bytes": 0})
    record = await quarantined(streams, redis_client, keys.PINGS, ENTRY)
    report = await Receipts(connection).report(PING_ID)
    assert report is not None
    assert (report["state"], report["skipped"]) == ("done", {"unreadable": 1})
    assert (await counters(redis_client))[:2] == [4, 40]

    quarantine = Quarantine(connection)
    (listed,) = (await quarantine.page())["records"]
    assert (listed["record"], listed["stream"], listed["reason"]) == (record, "pings", "a reason")
    assert (listed["pings"], listed["at"], listed["stored"]) == ([PING_ID], "2026-11-25T09:46:40.000Z", True)
    done = await quarantine.requeue(record)
    ((entry, fields),) = await redis_client.xrange(keys.PINGS)
    assert (done["stream"], done["entry"]) == ("pings", entry.decode())
    assert fields == {b"e": ENTRY, b"n": b"1", b"s": b"10"}
    assert await counters(redis_client) == [5, 50, 0, 0]
    assert await redis_client.xlen(keys.UNREADABLE) == 0
    assert await redis_client.hget(keys.receipt(BATCH), "base") is None
    with pytest.raises(NotFound):
        await quarantine.requeue(record)


async def test_a_requeued_retry_is_open_again(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.hset(keys.receipt(BATCH), mapping={"0:open": 1})
    record = await quarantined(streams, redis_client, keys.RETRIES, RETRY, pings=0)
    report = await Receipts(connection).report(PING_ID)
    assert report is not None
    assert (report["state"], len(report["devices"])) == ("done", 2)
    shown = await Quarantine(connection).show(record)
    assert (shown["clients"], shown["pings"]) == (["c1", "c2"], [PING_ID])
    await Quarantine(connection).requeue(record)
    report = await Receipts(connection).report(PING_ID)
    assert report is not None
    assert (report["state"], report["devices"]) == ("open", [])
    assert (await counters(redis_client))[2:] == [0, 0]


async def test_without_its_receipt_an_entry_is_requeued_nevertheless(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    record = await quarantined(streams, redis_client, keys.PINGS, ENTRY)
    await redis_client.delete(keys.receipt(BATCH))
    await Quarantine(connection).requeue(record)
    assert await redis_client.xlen(keys.PINGS) == 1
    assert await redis_client.exists(keys.receipt(BATCH)) == 0


async def test_a_dropped_record_is_gone_and_its_verdict_stays(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    first = await quarantined(streams, redis_client, keys.PINGS, ENTRY)
    second = await quarantined(streams, redis_client, keys.PINGS, b"\xc1")
    quarantine = Quarantine(connection)
    before = (await counters(redis_client))[3]
    await quarantine.drop(first)
    assert 0 < (await counters(redis_client))[3] < before
    assert [one["record"] for one in (await quarantine.page())["records"]] == [second]
    await quarantine.drop(second)
    assert (await counters(redis_client))[3] == 0
    report = await Receipts(connection).report(PING_ID)
    assert report is not None
    assert report["skipped"] == {"unreadable": 1}
    for record in (first, "0-0", "x", "+"):
        with pytest.raises(NotFound):
            await quarantine.drop(record)
        with pytest.raises(NotFound):
            await quarantine.show(record)


@pytest.mark.parametrize("fields", [None, b"\xc1", encode([]), encode([b"e"])])
async def test_an_entry_without_its_fields_is_not_requeued(
    connection: RedisConnection, redis_client: Redis, fields: bytes | None
) -> None:
    record = {"size": 200, "stream": keys.PINGS, "entry": "1-0", "reason": "too long", "at_ms": NOW_MS}
    added = await redis_client.xadd(keys.UNREADABLE, record | ({} if fields is None else {"fields": fields}))
    quarantine = Quarantine(connection)
    assert (await quarantine.show(added.decode()))["stored"] is False
    with pytest.raises(NotStored):
        await quarantine.requeue(added.decode())
    assert await redis_client.xlen(keys.UNREADABLE) == 1


async def test_pages_follow_their_cursor(connection: RedisConnection, redis_client: Redis) -> None:
    for number in range(PAGE_MAX + 1):
        await redis_client.xadd(keys.UNREADABLE, {"size": 1, "reason": str(number)})
    quarantine = Quarantine(connection)
    page = await quarantine.page()
    assert [one["reason"] for one in page["records"]] == [str(n) for n in range(PAGE_MAX, 0, -1)]
    last = await quarantine.page(page["next_cursor"])
    assert ([one["reason"] for one in last["records"]], last["next_cursor"]) == (["0"], None)
    with pytest.raises(InvalidField):
        await quarantine.page("-")
