"""Leases, progress, settlement, the schedule and the chunks of broadcasts, step by step."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.clock import SharedClock
from gateway.queue.consumer import (
    FIRST,
    TAKEN_OVER,
    BatchProgress,
    PingWaiter,
    ReceiptField,
    ScheduledRetry,
    Settlement,
    Streams,
)
from gateway.queue.entries import Chunk, Lease, decode_chunk
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink

PING = Ping(id="0" * 32, users=("bob",), message="hello")
RECEIPT = keys.receipt("0" * 28)


@pytest.fixture
async def streams(connection: RedisConnection) -> Streams:
    found = Streams(connection, "tested:0", 3600)
    await found.prepare()
    return found


@pytest.fixture
async def reader(make_link: MakeLink) -> RedisConnection:
    return await make_link("reader")


async def add(redis: Redis, stream: str = keys.PINGS, count: int = 1) -> list[str]:
    return [(await redis.xadd(stream, {"e": f"{n}", "n": 1, "s": 10})).decode() for n in range(count)]


async def settled(streams: Streams, done: Settlement, steady_ms: int = 5000) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    streams.settle(done, steady_ms, future.set_result)
    return await future


def names(leases: Sequence[Lease]) -> list[str]:
    return [lease.entry for lease in leases]


# Leases.


async def test_each_entry_is_read_once(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    added = await add(redis_client, count=5)
    first = await streams.read(reader, keys.STREAMS, 3, 1)
    second = await streams.read(reader, keys.STREAMS, 3, 1)
    assert names(first + second) == added
    assert first[0] == Lease(keys.PINGS, added[0], b"0", 1, 10, redelivered=False)
    assert await streams.read(reader, keys.STREAMS, 3, 1) == []


async def test_entries_that_were_read_are_resumed_after_a_restart(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    added = await add(redis_client, count=150)
    await streams.read(reader, (keys.PINGS,), 1000, 1)
    found = await streams.resume(keys.PINGS)
    assert names(found) == added[:100]
    assert all(lease.redelivered for lease in found)
    assert names(await streams.resume(keys.PINGS, found[-1].entry)) == added[100:]


async def test_only_entries_without_renewal_are_taken_over(
    streams: Streams,
    reader: RedisConnection,
    connection: RedisConnection,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added = await add(redis_client, count=2)
    await streams.read(reader, (keys.PINGS,), 10, 1)
    successor = Streams(connection, "successor:0", 3600)
    assert await successor.take_over(keys.PINGS, FIRST, 10) == ([], FIRST)
    # Redis counts idle time itself: let these have been idle for long.
    await redis_client.execute_command(
        "XCLAIM", keys.PINGS, keys.GROUP, streams.name, 0, *added, "IDLE", 25_000
    )
    await streams.renew_leases(keys.PINGS, added[:1])
    found, start = await successor.take_over(keys.PINGS, FIRST, 10)
    assert (names(found), start) == (added[1:], FIRST)
    assert names(await streams.resume(keys.PINGS)) == added[:1]


async def test_a_lease_that_another_consumer_has_is_neither_renewed_nor_written_for(
    streams: Streams, connection: RedisConnection, reader: RedisConnection, redis_client: Redis
) -> None:
    other = Streams(connection, "other:0", 3600)
    await add(redis_client, count=2)
    own, taken = await streams.read(reader, (keys.PINGS,), 10, 1)
    await redis_client.xclaim(keys.PINGS, keys.GROUP, other.name, 0, [taken.entry])
    assert await streams.renew_leases(keys.PINGS, names([own, taken])) == [taken.entry]
    progress = BatchProgress((("phone",),), b"\x01", ())
    assert await streams.save(own, progress) == 1
    assert await streams.save(taken, progress) == TAKEN_OVER
    assert await streams.progress(taken) is None
    assert await other.save(taken, progress) == 1
    assert await other.renew_leases(keys.PINGS, [taken.entry]) == []


async def test_a_group_that_was_flushed_is_created_again(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.flushall()
    added = await add(redis_client)
    assert await streams.read(reader, keys.STREAMS, 10, 1) == []
    assert names(await streams.read(reader, keys.STREAMS, 10, 1)) == added


@pytest.mark.parametrize("waiting", [False, True], ids=["before a read", "while a read waits"])
async def test_the_loss_of_the_queue_is_reported_once_and_the_queue_is_created_again(
    connection: RedisConnection, reader: RedisConnection, redis_client: Redis, waiting: bool
) -> None:
    losses: list[None] = []
    streams = Streams(connection, "tested:0", 3600, on_queue_lost=lambda: losses.append(None))
    await streams.prepare()
    await redis_client.delete(*keys.STREAMS)
    await streams.prepare()
    assert len(losses) == 1
    with capture_logs() as logged:
        reading = asyncio.create_task(streams.read(reader, keys.STREAMS, 10, 60_000)) if waiting else None
        if reading is not None:
            await _blocked(redis_client)
        await redis_client.flushall()
        assert await (reading or streams.read(reader, keys.STREAMS, 10, 1)) == []
    assert logged == [{"event": "queue_lost", "log_level": "error", "streams": list(keys.STREAMS)}]
    assert len(losses) == 2
    added = await add(redis_client)
    assert names(await streams.read(reader, keys.STREAMS, 10, 1)) == added
    assert len(losses) == 2


async def _blocked(redis: Redis) -> None:
    """Wait until a client waits for entries."""
    async with asyncio.timeout(30):
        while (await redis.info("clients"))["blocked_clients"] == 0:
            await asyncio.sleep(0.01)


async def test_the_first_groups_of_a_new_redis_are_no_loss(connection: RedisConnection) -> None:
    losses: list[None] = []
    streams = Streams(connection, "tested:0", 3600, on_queue_lost=lambda: losses.append(None))
    await streams.prepare()
    await streams.prepare()
    assert losses == []


async def test_preparing_twice_changes_nothing(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    added = await add(redis_client)
    await streams.read(reader, (keys.PINGS,), 10, 1)
    await streams.prepare()
    assert names(await streams.resume(keys.PINGS)) == added


# Progress and settling.


async def lease_one(streams: Streams, reader: RedisConnection, redis: Redis) -> Lease:
    await add(redis)
    (lease,) = await streams.read(reader, (keys.PINGS,), 10, 1)
    return lease


async def test_progress_is_stored_until_the_batch_is_settled(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    lease = await lease_one(streams, reader, redis_client)
    assert await streams.progress(lease) is None
    found = BatchProgress((("c1", "c2"),), b"\x02", ((0, 1, "Unregistered"),), ({"dead_token": 1},))
    await streams.save(lease, found)
    assert await streams.progress(lease) == found
    assert await settled(streams, Settlement(lease)) == 1
    await streams.save(lease, found)  # late: it must not come back to life
    assert await streams.progress(lease) is None


@pytest.mark.parametrize(
    ("places", "size", "fits"), [(0, 0, True), (1, 0, False), (8, 1, True), (9, 1, False), (9, 2, True)]
)
def test_progress_has_a_bit_for_each_index(places: int, size: int, fits: bool) -> None:
    plan = (tuple(f"c{n}" for n in range(places)),)
    assert BatchProgress(plan, bytes(size), ()).fits(1) == fits


@pytest.mark.parametrize(
    "progress",
    [
        BatchProgress((("c1",), ("c2",)), b"\0", ()),
        BatchProgress((("c1",),), b"\0", ((1, 1, "Unregistered"),)),
        BatchProgress((("c1",),), b"\0", ((-1, 1, "Unregistered"),)),
        BatchProgress((("c1",),), b"\0", ((0, 99, "Unregistered"),)),
        BatchProgress((("c1",),), b"\0", (), ({}, {})),
        BatchProgress((("c1",),), b"\0", (), ({"x": -1},)),
        BatchProgress((("c1",),), b"\0", (), ({"x": 2**63, "y": 2**63},)),
        BatchProgress((("c1",),), bytes(1_000), ()),
    ],
    ids=[
        "another number of pings",
        "no place",
        "a negative place",
        "no kind",
        "skipped of another number",
        "a negative number",
        "numbers whose sum cannot be stored",
        "too many bits",
    ],
)
def test_progress_of_another_plan_does_not_fit(progress: BatchProgress) -> None:
    assert not progress.fits(1)
    assert BatchProgress((("c1",),), b"\1", ((0, 1, "Unregistered"),), ({},)).fits(1)


async def test_settling_writes_everything_once(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    lease = await lease_one(streams, reader, redis_client)
    await redis_client.hset(keys.STATS, mapping={"pings": 5, "bytes": 100})
    await redis_client.hset(keys.PARKED, "lane", 7)
    chunk = Chunk(PING, -1, ("c1", "c2"), 1, 4000, "lane")
    done = Settlement(
        lease,
        receipts=[ReceiptField(RECEIPT, "base", b"abc"), ReceiptField(RECEIPT, "0:open", 1)],
        retries=[ScheduledRetry("pings:1-0.0", 9000, chunk, "lane")],
        unparked=[("lane", 3)],
    )
    assert await settled(streams, done) == 1
    assert await settled(streams, done) == 0
    assert await redis_client.xlen(keys.PINGS) == 0
    assert (await redis_client.xpending(keys.PINGS, keys.GROUP))["pending"] == 0
    stats = await redis_client.hgetall(keys.STATS)
    set_ms = int(stats.pop(b"clock"))
    assert stats == {b"pings": b"4", b"bytes": b"90", b"receipt_bytes": b"3"}
    assert await redis_client.hgetall(RECEIPT) == {b"base": b"abc", b"size": b"3", b"0:open": b"1"}
    later = await redis_client.zrange(keys.SCHEDULE, 0, -1, withscores=True)
    assert later == [(b"pings:1-0.0", set_ms + 9000 - 5000)]
    assert await redis_client.hget(keys.PARKED, "lane") == b"6"


async def test_the_count_of_a_lane_without_parked_deliveries_is_removed(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    lease = await lease_one(streams, reader, redis_client)
    await redis_client.hset(keys.PARKED, mapping={"one": 2, "two": 2})
    await settled(streams, Settlement(lease, unparked=[("one", 2), ("two", 1)]))
    assert await streams.parked() == {"two": 1}


@pytest.mark.parametrize(("still_open", "told"), [(0, True), (1, False)])
async def test_a_waiting_request_is_notified_only_of_the_end(
    streams: Streams, reader: RedisConnection, redis_client: Redis, still_open: int, told: bool
) -> None:
    lease = await lease_one(streams, reader, redis_client)
    await redis_client.hset(RECEIPT, "0:open", still_open)
    async with redis_client.pubsub() as heard:
        await heard.subscribe("channel", "marker")
        waiter = PingWaiter("channel", "ping", RECEIPT, "0:open", b"\xffrecord")
        await settled(streams, Settlement(lease, waiters=[waiter, waiter._replace(record=b"")]))
        await redis_client.publish("marker", "end")
        found = []
        while not found or found[-1] != b"end":
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
            if message is not None:
                found.append(message["data"])
    assert found == [b"ping\xffrecord", b"ping", b"end"] if told else [b"end"]


# The schedule.


async def redis_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.parametrize(("now_ms", "due"), [(0, 0), (8999 - 60_000, 0), (9000, 1), (9001, 1)])
async def test_a_retry_is_released_when_it_is_due(
    streams: Streams, reader: RedisConnection, redis_client: Redis, now_ms: int, due: int
) -> None:
    """By the process's steady clock it was settled at `now_ms`, to be due at 9000."""
    lease = await lease_one(streams, reader, redis_client)
    chunk = Chunk(PING, -1, ("c1",), 2, 4000)
    await settled(streams, Settlement(lease, retries=[ScheduledRetry("pings:1-0.0", 9000, chunk)]), now_ms)
    assert await streams.release_due(100) == due
    assert await streams.release_due(100) == 0
    found = await streams.read(reader, (keys.RETRIES,), 10, 1)
    assert [decode_chunk(one.payload) for one in found] == [chunk] * due
    assert await redis_client.hlen(keys.SCHEDULE_BODIES) == 1 - due
    assert await redis_client.hexists(keys.STATS, "clock") != bool(due)


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
async def test_the_schedule_moves_with_redis_clock(
    streams: Streams, reader: RedisConnection, redis_client: Redis, jump_s: int
) -> None:
    """The schedule is written as if before a jump of Redis' clock: each retry waits for its intended time."""
    lease = await lease_one(streams, reader, redis_client)
    now_ms = await redis_ms(redis_client)
    before_ms = now_ms - jump_s * 1000
    retries = [ScheduledRetry("soon", 4000, Chunk(PING)), ScheduledRetry("late", 600_000, Chunk(PING))]
    await settled(streams, Settlement(lease, retries=retries))
    for name, delay_ms in (("soon", -1000), ("late", 600_000)):
        await redis_client.zadd(keys.SCHEDULE, {name: before_ms + delay_ms})
    await redis_client.hset(keys.STATS, "clock", before_ms)
    clock = SharedClock(wall=lambda: before_ms * 1_000_000)
    streams = Streams(streams._connection, "tested:0", 3600, clock)
    assert await streams.release_due(100) == 1
    assert await streams.release_due(100) == 0
    ((name, due_ms),) = await redis_client.zrange(keys.SCHEDULE, 0, -1, withscores=True)
    assert name == b"late"
    assert now_ms + 600_000 <= due_ms < now_ms + 660_000


async def test_a_time_without_gateways_moves_no_schedule(
    streams: Streams, reader: RedisConnection, redis_client: Redis
) -> None:
    """The last look was an hour ago, and whoever looks now has seen no jump: all that became due is due."""
    lease = await lease_one(streams, reader, redis_client)
    await settled(streams, Settlement(lease, retries=[ScheduledRetry("due", 4000, Chunk(PING))]))
    hour_ago_ms = await redis_ms(redis_client) - 3_600_000
    await redis_client.hset(keys.STATS, "clock", hour_ago_ms)
    await redis_client.zadd(keys.SCHEDULE, {"due": hour_ago_ms + 60_000})
    assert await streams.release_due(100) == 1


# Broadcasts.


async def test_the_backlog_has_its_number_and_its_oldest_entry(streams: Streams, redis_client: Redis) -> None:
    assert await streams.backlog() == (0, 0)
    await redis_client.hset(keys.STATS, "pings", 2)
    await redis_client.xadd(keys.PINGS, {"e": "", "n": 0, "s": 0}, id="7000-1")
    await redis_client.xadd(keys.BROADCASTS, {"e": "", "n": 0, "s": 0}, id="5000-0")
    assert await streams.backlog() == (2, 5000)


async def test_the_number_of_unreadable_entries_is_limited(
    streams: Streams, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "UNREADABLE_MAX", 2)
    for n in range(3):
        assert await _put_aside(streams, redis_client, b"%d" % n)
    records = [record for _, record in await redis_client.xrange(keys.UNREADABLE)]
    assert [msgspec.msgpack.decode(record[b"fields"])[1] for record in records] == [b"1", b"2"]
    assert [(record[b"stream"], record[b"reason"], record[b"at_ms"]) for record in records] == [
        (keys.PINGS.encode(), b"damaged", b"1000")
    ] * 2


async def _put_aside(streams: Streams, redis: Redis, payload: bytes) -> bool:
    entry = await redis.xadd(keys.PINGS, {"e": payload, "n": 0, "s": 0})
    return await streams.quarantine(Lease(keys.PINGS, entry.decode(), payload, 0, 0, False), "damaged", 1_000)


async def test_the_size_of_unreadable_entries_is_limited(
    streams: Streams, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "UNREADABLE_BYTES", 5_000)
    monkeypatch.setattr(keys, "UNREADABLE_ENTRY_BYTES", 4_000)
    for size in (3_000, 3_000, 100):
        await _put_aside(streams, redis_client, b"x" * size)
    assert await redis_client.xlen(keys.UNREADABLE) == 2
    await _put_aside(streams, redis_client, b"x" * 10_000)
    *_, (_, newest) = await redis_client.xrange(keys.UNREADABLE)
    assert b"fields" not in newest
    held = int(await redis_client.hget(keys.STATS, "unreadable_bytes"))
    assert held == sum(int(record[b"size"]) for _, record in await redis_client.xrange(keys.UNREADABLE))


async def test_an_entry_is_quarantined_once(streams: Streams, redis_client: Redis) -> None:
    """The reply may have been lost: asked again, nothing changes."""
    entry = (await redis_client.xadd(keys.PINGS, {"e": b"odd", "n": 1, "s": 5})).decode()
    await redis_client.hset(keys.STATS, mapping={"pings": 3, "bytes": 30})
    lease = Lease(keys.PINGS, entry, b"odd", 1, 5, False)
    assert await streams.quarantine(lease, "damaged", 1)
    assert not await streams.quarantine(lease, "damaged", 2)
    assert await redis_client.xlen(keys.UNREADABLE) == 1
    assert await redis_client.hmget(keys.STATS, "pings", "bytes") == [b"2", b"25"]
