"""Reading of the outbox: seconds, events, and what is removed."""

from redis.asyncio import Redis

from gateway.queue.outbox import ConditionEvent, FinishedPing, OutboxRecord, RejectedDevice, UnfinishedPing
from gateway.store import keys
from gateway.webhooks.outbox import Outbox, StoredRecord, event_record
from protocols.webhooks.events import (
    DEVICE_INVALID,
    EVENT_TYPES,
    LANE_DOWN,
    PING_COMPLETED,
    PING_FAILED_DEVICES,
)
from tests.gateway.webhooks.conftest import LIMIT, Settling, batch_id

ALL = frozenset(EVENT_TYPES)
ONE = batch_id(1)


async def only(outbox: Outbox) -> StoredRecord:
    (record,) = await outbox.next_second("0-0")
    return record


async def test_a_settlement_has_the_events_of_its_pings(settling: Settling, outbox: Outbox) -> None:
    rejected = (
        RejectedDevice(1, "phone", "apns", "Unregistered", True),
        RejectedDevice(1, "tablet", "fcm", "TOO_BIG"),
    )
    await settling.settle(ONE, FinishedPing(0, 2), FinishedPing(1, 0, 2, 1), rejected=rejected)
    record = await only(outbox)
    assert record.number == 1
    found = event_record(record, ALL)
    phone = {"client_id": "phone", "provider": "apns", "reason": "Unregistered"}
    tablet = {"client_id": "tablet", "provider": "fcm", "reason": "TOO_BIG"}
    assert found.events == {
        PING_FAILED_DEVICES: [{"ping_id": f"{ONE}0001", "devices": [phone, tablet]}],
        DEVICE_INVALID: [phone | {"ping_id": f"{ONE}0001"}],
        PING_COMPLETED: [
            {
                "ping_id": f"{ONE}0000",
                "state": "done",
                "counts": {"accepted": 2, "rejected": 0},
                "skipped": 0,
            },
            {
                "ping_id": f"{ONE}0001",
                "state": "done",
                "counts": {"accepted": 0, "rejected": 2},
                "skipped": 1,
            },
        ],
    }
    assert list(event_record(record, frozenset({DEVICE_INVALID})).events) == [DEVICE_INVALID]


async def test_a_cancelled_ping_has_the_state_cancelled(settling: Settling, outbox: Outbox) -> None:
    await settling.settle(ONE, FinishedPing(0, 1, 0, 0, 4))
    (event,) = event_record(await only(outbox), ALL).events[PING_COMPLETED]
    assert (event["state"], event["counts"]) == ("cancelled", {"accepted": 1, "rejected": 0, "cancelled": 4})


async def test_the_last_part_of_a_ping_completes_it_with_all_its_verdicts(
    settling: Settling, outbox: Outbox, redis_client: Redis
) -> None:
    key = keys.receipt(ONE)
    await redis_client.hset(key, "0:open", 1)
    part = OutboxRecord(LIMIT, b"", ONE, [UnfinishedPing(key, FinishedPing(0, 3, 1, 2))])
    assert await settling.write(part) == 1
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 0
    await redis_client.hset(key, "0:open", 0)
    await settling.write(part)
    (event,) = event_record(await only(outbox), ALL).events[PING_COMPLETED]
    assert (event["counts"], event["skipped"]) == ({"accepted": 6, "rejected": 2}, 4)


async def test_a_second_is_read_as_a_whole(outbox: Outbox, redis_client: Redis) -> None:
    for number in range(1200):
        await redis_client.xadd(
            keys.WEBHOOK_EVENTS, {"s": 9, "q": number}, id=f"5{number // 1100:03}-{number}"
        )
    await redis_client.xadd(keys.WEBHOOK_EVENTS, {"s": 9, "q": 1200}, id="6000-0")
    found = await outbox.next_second("0-0")
    assert (len(found), found[-1].record) == (1200, "5001-1199")
    assert [record.record for record in await outbox.next_second(found[-1].record)] == ["6000-0"]
    assert await outbox.next_second("6000-0") == []
    first = await outbox.next_record("5000-7")
    assert first is not None
    assert (first.record, first.second) == ("5000-8", 5)
    assert await outbox.next_record("6000-0") is None
    assert await outbox.oldest_ms() == 5000


async def test_unreadable_records_are_skipped(outbox: Outbox, redis_client: Redis) -> None:
    for fields in ({"x": "y"}, {"w": "\xff", "b": ONE}, {"c": "no"}, {"w": "", "b": ONE, "d": "a b,,1"}):
        await redis_client.xadd(keys.WEBHOOK_EVENTS, fields)
    for record in await outbox.next_second("0-0"):
        events = event_record(record, ALL).events
        assert set(events) <= {PING_COMPLETED}


async def test_beyond_the_limit_the_oldest_records_are_removed(
    settling: Settling, outbox: Outbox, redis_client: Redis
) -> None:
    for number in range(50):
        await settling.settle(batch_id(number), FinishedPing(0, 1), limit=1000)
    held = await redis_client.hgetall(keys.WEBHOOK_OUTBOX)
    records = await redis_client.xrange(keys.WEBHOOK_EVENTS)
    assert int(held[b"bytes"]) == sum(int(fields[b"s"]) for _, fields in records) <= 1000
    assert int(held[b"number"]) == 50 == int(records[-1][1][b"q"])
    assert records[-1][1][b"b"] == batch_id(49).encode()
    assert await outbox.sweep(300) == len(records) - 2
    assert await redis_client.ttl(keys.WEBHOOK_EVENTS) > 3 * 86_400


async def test_old_records_are_removed(settling: Settling, outbox: Outbox, redis_client: Redis) -> None:
    await redis_client.xadd(keys.WEBHOOK_EVENTS, {"s": 9, "q": 1}, id="5000-0")
    await settling.settle(ONE, FinishedPing(0))
    assert await outbox.sweep(LIMIT) == 1
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 1
    assert await outbox.sweep(LIMIT, 0) == 1
    assert await redis_client.hget(keys.WEBHOOK_OUTBOX, "bytes") == b"0"


async def test_a_full_redis_settles_and_keeps_the_event(
    settling: Settling, outbox: Outbox, redis_client: Redis
) -> None:
    await settling.settle(ONE, FinishedPing(0))
    entry = await redis_client.xadd(keys.PINGS, {"e": "", "n": 1, "s": 1})
    await redis_client.config_set("maxmemory", 1)
    try:
        assert await settling.settle_entry(entry.decode(), batch_id(2)) == 1
    finally:
        await redis_client.config_set("maxmemory", 0)
    found = [event_record(record, ALL) for record in await outbox.next_second("0-0")]
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 2
    assert found


async def test_an_outbox_of_another_type_does_not_stop_a_settlement(
    settling: Settling, redis_client: Redis
) -> None:
    await redis_client.set(keys.WEBHOOK_EVENTS, "of another program")
    await settling.settle(ONE, FinishedPing(0))
    assert await redis_client.xlen(keys.PINGS) == 0


async def test_a_second_call_adds_no_second_event(settling: Settling, redis_client: Redis) -> None:
    await settling.settle(ONE, FinishedPing(0))
    assert await settling.settle_entry("1-1", ONE) == 0
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 1


async def test_a_condition_is_reported_once(outbox: Outbox, redis_client: Redis) -> None:
    down = ConditionEvent(LANE_DOWN, {"lane": "apns:one"})
    assert await outbox.change("lane:apns:one", "down", down, LIMIT)
    assert not await outbox.change("lane:apns:one", "down", down, LIMIT)
    assert not await outbox.change("lane:apns:two", "", down, LIMIT)
    assert await outbox.change("lane:apns:one", "", None, LIMIT)
    assert await redis_client.exists(keys.WEBHOOK_CONDITIONS) == 0
    record = event_record(await only(outbox), ALL)
    assert (record.events, record.alone) == ({LANE_DOWN: [{"lane": "apns:one"}]}, True)


async def test_records_of_exactly_the_limit_are_kept(settling: Settling, redis_client: Redis) -> None:
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    size = int(await redis_client.hget(keys.WEBHOOK_OUTBOX, "bytes") or b"")
    for number in (2, 3):
        await settling.settle(batch_id(number), FinishedPing(0, 1), limit=2 * size)
        assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 2


async def test_a_damaged_size_of_the_outbox_does_not_last(settling: Settling, redis_client: Redis) -> None:
    await redis_client.hset(keys.WEBHOOK_OUTBOX, "bytes", 10**12)
    for number in (1, 2):
        await settling.settle(batch_id(number), FinishedPing(0, 1))
    ((_, fields),) = await redis_client.xrange(keys.WEBHOOK_EVENTS)
    assert fields[b"b"] == batch_id(2).encode()
    assert await redis_client.hget(keys.WEBHOOK_OUTBOX, "bytes") == fields[b"s"]


async def test_a_receipt_of_another_type_does_not_stop_a_settlement(
    settling: Settling, redis_client: Redis
) -> None:
    await redis_client.set(keys.receipt(ONE), "of another program")
    await settling.settle(ONE, FinishedPing(0))
    assert await redis_client.xlen(keys.PINGS) == 0
    assert await redis_client.xlen(keys.WEBHOOK_EVENTS) == 1
