"""The durable step of a cancellation: of a queued ping, of a scheduled one, and where it is refused."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.errors import CancellationsFull, NotFound, NotStored, PingFinished, StoreDown
from gateway.queue import canceller as module
from gateway.queue import schedule
from gateway.queue.canceller import PingCanceller
from gateway.queue.entries import read_entry
from gateway.queue.outbox import RECORD_FIELD, EventPlan
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import PingRecord, Receipts, pack_base
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.queue.scheduled_batch import EMPTY, read_scheduled
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks.outbox import Outbox, event_record
from protocols.ping.model import Ping
from protocols.webhooks.events import PING_COMPLETED
from tests.gateway.queue.test_schedule import BOB, ROOMY, add, make_due, stats

CROWD = Ping(users=tuple(f"user{n}" for n in range(2 * keys.CHUNK_USERS + 7)), message="all")


@pytest.fixture
def receipts(connection: RedisConnection) -> Receipts:
    return Receipts(connection)


@pytest.fixture
def canceller(connection: RedisConnection, receipts: Receipts) -> PingCanceller:
    return PingCanceller(connection, receipts, 60, EventPlan())


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, ROOMY)


@pytest.fixture
async def scheduled(connection: RedisConnection, queue: QueueProducer) -> ScheduleProducer:
    return ScheduleProducer(connection, ROOMY, queue)


async def state(receipts: Receipts, ping_id: str) -> tuple[str, dict[str, int]]:
    report = await receipts.report(ping_id)
    assert report is not None
    return report["state"], report["skipped"]


async def test_a_queued_ping_gets_into_the_set_and_is_open(
    canceller: PingCanceller, receipts: Receipts, queue: QueueProducer, redis_client: Redis
) -> None:
    ping_id = (await queue.append(BOB, 10)).ping_id
    for _ in range(2):
        assert await canceller.cancel(ping_id) == "open"
    assert await redis_client.zrange(keys.CANCELLED, 0, -1) == [ping_id.encode()]
    version = await redis_client.get(keys.CANCELLED_VERSION)
    assert version.endswith(ping_id.encode())
    assert await state(receipts, ping_id) == ("open", {})
    for name in (keys.CANCELLED, keys.CANCELLED_VERSION, keys.receipt(ping_id[:28])):
        assert await redis_client.ttl(name) > 0


async def test_unknown_and_finished_pings(
    canceller: PingCanceller, redis_client: Redis, queue: QueueProducer
) -> None:
    for ping_id in ("x", "0" * 32):
        with pytest.raises(NotFound):
            await canceller.cancel(ping_id)
    batch = "0" * 28
    await redis_client.hset(keys.receipt(batch), "base", pack_base([PingRecord(1), PingRecord()]))
    with pytest.raises(PingFinished):
        await canceller.cancel(batch + "0000")
    with pytest.raises(NotFound):
        await canceller.cancel(batch + "0002")
    await redis_client.hset(keys.receipt(batch), "1:open", 1)
    assert await canceller.cancel(batch + "0001") == "open"
    await redis_client.hset(keys.receipt(batch), "1:open", 0)
    assert await canceller.cancel(batch + "0001") == "cancelled"


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_ping_that_ends_between_read_and_write_is_read_again(
    canceller: PingCanceller,
    receipts: Receipts,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    cancelled: bool,
) -> None:
    receipt, ping_id = keys.receipt("0" * 28), "0" * 32
    await redis_client.hset(receipt, mapping={"base": pack_base([PingRecord(1)]), "0:open": 1})
    if cancelled:
        assert await canceller.cancel(ping_id) == "open"
    read = receipts.report

    async def read_and_end(ping_id: str) -> object:
        found = await read(ping_id)
        await redis_client.hset(receipt, "0:open", 0)
        return found

    monkeypatch.setattr(receipts, "report", read_and_end)
    if cancelled:
        assert await canceller.cancel(ping_id) == "cancelled"
    else:
        with pytest.raises(PingFinished):
            await canceller.cancel(ping_id)


async def test_no_more_are_cancelled_than_workers_can_hold(
    canceller: PingCanceller, queue: QueueProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "CANCELLED_MAX", 1)
    first, second = [(await queue.append(BOB, 10)).ping_id for _ in range(2)]
    await canceller.cancel(first)
    with pytest.raises(CancellationsFull):
        await canceller.cancel(second)
    assert await canceller.cancel(first) == "open"


async def test_a_scheduled_ping_leaves_the_schedule_and_its_batch(
    canceller: PingCanceller, receipts: Receipts, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    ids = await add(scheduled, count=3)
    before = await stats(redis_client)
    assert await canceller.cancel(ids[1]) == "cancelled"
    assert await state(receipts, ids[1]) == ("cancelled", {"cancelled": 1})
    assert [(await state(receipts, one))[0] for one in (ids[0], ids[2])] == ["scheduled"] * 2
    rest = await stats(redis_client)
    assert rest["scheduled_pings"] == before["scheduled_pings"] - 1 == 2
    assert rest["scheduled_bytes"] == before["scheduled_bytes"] - 10 == 20
    assert await canceller.cancel(ids[1]) == "cancelled"
    for ping_id in (ids[0], ids[2]):
        assert await canceller.cancel(ping_id) == "cancelled"
    found = await stats(redis_client)
    assert (found["scheduled_pings"], found["scheduled_bytes"]) == (0, 0)
    assert await redis_client.exists(keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.CANCELLED) == 0


async def test_a_cancelled_scheduled_ping_keeps_its_limit_to_apps(
    canceller: PingCanceller, receipts: Receipts, scheduled: ScheduleProducer
) -> None:
    """The limit decides who may read the receipt, and repeat the cancellation."""
    limited = msgspec.structs.replace(BOB, apps=("one",))
    for ping_id in await add(scheduled, limited, count=2):
        report = await receipts.report(ping_id)
        assert report is not None
        assert (report["state"], report["apps"]) == ("scheduled", ["one"])
        await canceller.cancel(ping_id)
        report = await receipts.report(ping_id)
        assert report is not None
        assert (report["state"], report["apps"]) == ("cancelled", ["one"])


async def test_the_recipients_of_a_scheduled_ping_are_counted_once(
    connection: RedisConnection, receipts: Receipts, queue: QueueProducer, scheduled: ScheduleProducer
) -> None:
    numbers: list[int] = []
    canceller = PingCanceller(connection, receipts, 60, EventPlan(), count=numbers.append)
    nobody, queued = Ping(message="hello"), (await queue.append(BOB, 10)).ping_id
    for ping in (BOB, nobody, CROWD):
        (ping_id,) = await add(scheduled, ping)
        for _ in range(2):
            assert await canceller.cancel(ping_id) == "cancelled"
        assert await state(receipts, ping_id) == (
            "cancelled",
            {"cancelled": len(ping.users)} if ping.users else {},
        )
    assert await canceller.cancel(queued) == "open"
    assert numbers == [1, 0, len(CROWD.users)]


async def test_a_scheduled_ping_without_anything_can_be_cancelled(
    canceller: PingCanceller, receipts: Receipts, scheduled: ScheduleProducer
) -> None:
    (ping_id,) = await add(scheduled, Ping())
    assert await state(receipts, ping_id) == ("scheduled", {})
    assert await canceller.cancel(ping_id) == "cancelled"
    assert await state(receipts, ping_id) == ("cancelled", {})


async def test_pings_of_one_batch_are_cancelled_at_the_same_time(
    canceller: PingCanceller, scheduled: ScheduleProducer, connection: RedisConnection
) -> None:
    ids = await add(scheduled, count=3)
    assert await asyncio.gather(*map(canceller.cancel, ids[:2])) == ["cancelled"] * 2
    rest = await read_scheduled(connection, ids[0][:28])
    assert rest is not None
    assert [rest.has(number) for number in range(3)] == [False, False, True]


async def test_a_full_redis_accepts_cancellations(
    canceller: PingCanceller, queue: QueueProducer, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    queued, (first, second) = (await queue.append(BOB, 10)).ping_id, await add(scheduled, count=2)
    await redis_client.config_set("maxmemory", "1")
    try:
        assert [await canceller.cancel(one) for one in (queued, first, second)] == [
            "open",
            "cancelled",
            "cancelled",
        ]
    finally:
        await redis_client.config_set("maxmemory", "0")


async def test_the_rest_of_a_batch_is_released_and_the_cancelled_one_is_gone_with_its_receipt(
    canceller: PingCanceller,
    receipts: Receipts,
    scheduled: ScheduleProducer,
    connection: RedisConnection,
    redis_client: Redis,
) -> None:
    ids = await add(scheduled, count=2)
    await canceller.cancel(ids[0])
    await redis_client.delete(keys.receipt(ids[0][:28]))  # it has expired before the instant
    assert await receipts.report(ids[0]) is None
    await make_due(redis_client)
    assert await schedule.release(connection) == 1
    ((_, fields),) = await redis_client.xrange(keys.PINGS)
    assert read_entry(fields[b"e"]).pings == (EMPTY, BOB)
    assert (fields[b"n"], (await stats(redis_client))["pings"]) == (b"1", 1)


async def test_a_scheduled_broadcast_is_counted_by_number(
    canceller: PingCanceller, receipts: Receipts, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    (ping_id,) = await add(scheduled, CROWD)
    assert await canceller.cancel(ping_id) == "cancelled"
    assert await state(receipts, ping_id) == ("cancelled", {"cancelled": len(CROWD.users)})
    assert await redis_client.exists(keys.broadcast_users(ping_id), keys.SCHEDULED_PINGS) == 0


async def test_the_event_of_its_completion_is_written_with_the_receipt(
    connection: RedisConnection, receipts: Receipts, scheduled: ScheduleProducer, redis_client: Redis
) -> None:
    plan = EventPlan(frozenset({PING_COMPLETED}), 1_000_000)
    canceller = PingCanceller(connection, receipts, 60, plan)
    first, second = await add(scheduled, count=2)
    assert await canceller.cancel(first) == "cancelled"
    assert await canceller.cancel(first) == "cancelled"
    (record,) = await Outbox(connection).next_second("0-0")
    assert event_record(record, plan.wanted).events == {
        PING_COMPLETED: [
            {
                "ping_id": first,
                "state": "cancelled",
                "counts": {"accepted": 0, "rejected": 0, "cancelled": 1},
                "skipped": 0,
            }
        ]
    }
    assert await redis_client.hexists(keys.receipt(first[:28]), RECORD_FIELD + record.record)
    plan.wanted = frozenset()
    assert await canceller.cancel(second) == "cancelled"
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 1


async def test_a_batch_that_changes_between_read_and_write_is_read_again(
    canceller: PingCanceller,
    scheduled: ScheduleProducer,
    connection: RedisConnection,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is released in between: then it is cancelled in the queue."""
    (ping_id,) = await add(scheduled)
    read = module.read_scheduled

    async def read_and_release(connection: RedisConnection, batch_id: str) -> object:
        found = await read(connection, batch_id)
        await make_due(redis_client)
        await schedule.release(connection)
        return found

    monkeypatch.setattr(module, "read_scheduled", read_and_release)
    assert await canceller.cancel(ping_id) == "open"
    assert await redis_client.zrange(keys.CANCELLED, 0, -1) == [ping_id.encode()]


async def test_without_a_replica_the_cancellation_is_not_reported(
    connection: RedisConnection, receipts: Receipts, queue: QueueProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLICATE_S", 0.01)
    ping_id = (await queue.append(BOB, 10)).ping_id
    with pytest.raises(StoreDown, match="no replica"):
        await PingCanceller(connection, receipts, 60, EventPlan(), replicas=1).cancel(ping_id)


async def test_a_scheduled_batch_that_cannot_be_read_is_reported_as_such(
    canceller: PingCanceller, redis_client: Redis
) -> None:
    batch = "0" * 28
    await redis_client.zadd(keys.SCHEDULED_PINGS, {batch: 4_000_000_000_000})
    await redis_client.hset(keys.SCHEDULED_BODIES, batch, b"of another program")
    with pytest.raises(NotStored, match="cannot be read"):
        await canceller.cancel(batch + "0000")


@pytest.mark.parametrize("damaged", [b"\xc1", b"\x01", b""])
async def test_a_scheduled_broadcast_with_damaged_users_is_cancelled(
    canceller: PingCanceller,
    receipts: Receipts,
    scheduled: ScheduleProducer,
    redis_client: Redis,
    damaged: bytes,
) -> None:
    (ping_id,) = await add(scheduled, CROWD)
    await redis_client.hset(keys.broadcast_users(ping_id), "2", damaged)
    assert await canceller.cancel(ping_id) == "cancelled"
    assert await state(receipts, ping_id) == ("cancelled", {"cancelled": 2 * keys.CHUNK_USERS})
