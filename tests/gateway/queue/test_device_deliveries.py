"""The search of receipts for the deliveries to one device."""

import pytest
from redis.asyncio import Redis

from gateway.queue import device_deliveries
from gateway.queue.device_deliveries import TOGETHER, DeviceDeliveries
from gateway.queue.receipts import DeviceVerdict, PingRecord, pack_base, pack_delta
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.verdict import VerdictKind


def batch(number: int) -> str:
    return f"{number:012x}" + "0" * 16


async def put(redis: Redis, number: int, *records: PingRecord) -> None:
    await redis.hset(keys.receipt(batch(number)), "base", pack_base(records))
    await redis.zadd(keys.RECEIPTS, {keys.receipt(batch(number)): number})


def accepted(*clients: str) -> PingRecord:
    return PingRecord(len(clients), tuple((client, "apns") for client in clients))


async def test_deliveries_are_listed_newest_first_with_verdict_reason_and_effect(
    connection: RedisConnection, redis_client: Redis
) -> None:
    rejected = DeviceVerdict("phone", "apns", VerdictKind.REJECTED, "TooBig")
    await put(redis_client, 1, accepted("phone", "other"), PingRecord(other_verdicts=(rejected,)))
    await put(redis_client, 2, accepted("other"), accepted("phone2"))
    await put(redis_client, 3, accepted("phone"))
    await redis_client.hset(keys.receipt(batch(3)), mapping={"0:synced:phone": 7, "0:acked:phone": 1})
    later = DeviceVerdict("phone", "fcm", VerdictKind.LATER, "busy")
    retried = pack_delta(PingRecord(other_verdicts=(later,)))
    await put(redis_client, 4, PingRecord())
    await redis_client.hset(keys.receipt(batch(4)), mapping={"0+9-0": retried, "0:open": 1})
    found = await DeviceDeliveries(connection).of("phone")
    assert found.deliveries == [
        {
            "ping_id": f"{batch(4)}0000",
            "state": "open",
            "client_id": "phone",
            "provider": "fcm",
            "verdict": "later",
            "reason": "busy",
        },
        {
            "ping_id": f"{batch(3)}0000",
            "state": "done",
            "client_id": "phone",
            "provider": "apns",
            "verdict": "accepted",
            "synced_after_s": 7,
            "acknowledged": True,
        },
        {
            "ping_id": f"{batch(1)}0001",
            "state": "done",
            "client_id": "phone",
            "provider": "apns",
            "verdict": "rejected",
            "reason": "TooBig",
        },
        {
            "ping_id": f"{batch(1)}0000",
            "state": "done",
            "client_id": "phone",
            "provider": "apns",
            "verdict": "accepted",
        },
    ]
    assert found[1:] == (None, 4, 4)


async def test_a_search_is_bounded_and_continues_with_its_cursor(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_deliveries, "EXAMINED_MAX", 2 * TOGETHER)
    for number in range(1, 3 * TOGETHER):
        await put(redis_client, number, accepted("phone" if number == 1 else "other"))
    deliveries = DeviceDeliveries(connection)
    first = await deliveries.of("phone")
    assert first == ([], 2 * TOGETHER, 2 * TOGETHER, 3 * TOGETHER - 1)
    assert first.cursor is not None
    rest = await deliveries.of("phone", first.cursor)
    assert [one["ping_id"] for one in rest.deliveries] == [f"{batch(1)}0000"]
    assert (rest.cursor, rest.examined) == (None, 3 * TOGETHER - 1)


async def test_enough_deliveries_end_it_and_other_keys_do_not(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_deliveries, "FOUND_MAX", 1)
    await redis_client.set(keys.receipt("f" * 28), "phone")
    await redis_client.zadd(keys.RECEIPTS, {keys.receipt("f" * 28): 10**12, "phone": 10**12 + 1})
    for number in range(1, 2 * TOGETHER):
        await put(redis_client, number, accepted("phone"))
    found = await DeviceDeliveries(connection).of("phone")
    assert (len(found.deliveries), found.cursor) == (TOGETHER - 2, TOGETHER)
