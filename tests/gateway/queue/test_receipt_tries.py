"""The records of a receipt one after another."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.queue.receipt_tries import CHUNK, FIRST, RETRY, ReceiptTries, tries
from gateway.queue.receipts import DeviceVerdict, PingRecord, pack_base, pack_delta
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.verdict import VerdictKind

BATCH = "01a2324ac4c37d55819102a06eab"


@pytest.fixture
async def connection(redis_address: str) -> AsyncIterator[RedisConnection]:
    made = RedisConnection(RedisAddress.parse(redis_address), "test")
    await made.open(10.0)
    yield made
    await made.close()


def later(reason: str) -> PingRecord:
    return PingRecord(other_verdicts=(DeviceVerdict("c2", "apns", VerdictKind.LATER, reason),))


FIELDS = {
    "base": pack_base(
        [PingRecord(9), PingRecord(1, (("c1", "fcm"),), later("TooManyRequests").other_verdicts)]
    ),
    "1+200-0": pack_delta(later("ServiceUnavailable")),
    "1+1000-0": pack_delta(PingRecord(1, (("c2", "apns"),))),
    "1+0-150-0": pack_delta(PingRecord(5)),
    "1:open": b"0",
    "0+300-0": pack_delta(PingRecord(7)),
    "1+400-0": b"\xc1",
}


def test_records_come_in_the_order_of_their_entries() -> None:
    found = tries(FIELDS, 1, 50)
    assert [(one.kind, one.at_ms, one.accepted) for one in found] == [
        (FIRST, 50, 1),
        (CHUNK, 150, 5),
        (RETRY, 200, 0),
        (RETRY, 1000, 1),
    ]
    assert found[0].devices == (
        {"client_id": "c1", "provider": "fcm", "verdict": "accepted", "reason": ""},
        {"client_id": "c2", "provider": "apns", "verdict": "later", "reason": "TooManyRequests"},
    )
    assert found[2].devices[0]["reason"] == "ServiceUnavailable"


def test_damaged_or_missing_records_are_left_out() -> None:
    assert tries({"base": b"\xc1"}, 0, None) == []
    assert tries({}, 0, None) == []
    assert tries({"base": pack_base([PingRecord(1)])}, 5, None) == []


async def test_they_are_read_from_redis(connection: RedisConnection, redis_client: Redis) -> None:
    key = keys.receipt(BATCH)
    await redis_client.hset(key, mapping=FIELDS)
    await redis_client.zadd(keys.RECEIPTS, {key: 1_234})
    made = ReceiptTries(connection)
    assert [one.at_ms for one in await made.of(f"{BATCH}0001")] == [1_234, 150, 200, 1000]
    assert await made.of("no id") == []
    assert await made.of("0" * 32) == []
