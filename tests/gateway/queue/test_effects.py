"""Syncs and acknowledgements in receipts, and the log of what is awaited."""

import pytest
from redis.asyncio import Redis

from gateway.queue.effects import AwaitedLogEntry, EffectStore, PingedDevices, add_effects
from gateway.queue.entries import encode
from gateway.queue.receipts import PingRecord, Receipts, pack_base
from gateway.store import keys
from gateway.store.connection import RedisConnection

BATCH = "0190" + "a" * 24
PINGS = [f"{BATCH}{number:04x}" for number in range(2)]
ADDED = PingedDevices(BATCH, 1_000, "apns", "", False, ["phone"], [0])


@pytest.fixture
def store(connection: RedisConnection) -> EffectStore:
    return EffectStore(connection, 3600, "one:0")


async def receipts(redis: Redis) -> None:
    records = [PingRecord(1, (("phone", "apns"),)), PingRecord(1, (("phone", "apns"), ("other", "fcm")))]
    await redis.hset(keys.receipt(BATCH), mapping={"base": pack_base(records), "size": 10})


async def test_a_receipt_has_the_first_sync_of_each_device(
    store: EffectStore, redis_client: Redis, connection: RedisConnection
) -> None:
    await receipts(redis_client)
    assert await store.record([(PINGS[1], "phone", 7), (PINGS[1], "", 3)], AwaitedLogEntry(1, 1)) == [
        True,
        True,
    ]
    assert await store.record([(PINGS[1], "phone", 9), (PINGS[1], "other", 0)], AwaitedLogEntry(2, 1)) == [
        False,
        True,
    ]
    report = await Receipts(connection).report(PINGS[1])
    assert report is not None
    assert report["synced"] == 3
    assert [(one["client_id"], one["synced_after_s"]) for one in report["devices"]] == [
        ("phone", 7),
        ("other", 0),
    ]
    other = await Receipts(connection).report(PINGS[0])
    assert other is not None
    assert not {"synced", "acknowledged"} & other.keys()
    size = int(await redis_client.hget(keys.receipt(BATCH), "size") or 0)
    assert (
        int(await redis_client.hget(keys.STATS, "receipt_bytes") or 0)
        == size - 10
        == len("1:synced:phone71:synced:other0")
    )


async def test_a_repeated_write_changes_nothing(store: EffectStore, redis_client: Redis) -> None:
    await receipts(redis_client)
    entry = AwaitedLogEntry(1, 1, (ADDED,))
    assert await store.record([(PINGS[0], "", 3)], entry) == [True]
    assert await store.record([(PINGS[0], "", 3)], entry) == [True]
    assert await redis_client.hget(keys.receipt(BATCH), "0:synced") == b"1"
    assert await store.awaited_log() == [entry]


async def test_a_sync_before_the_settlement_waits_in_the_receipt(
    store: EffectStore, redis_client: Redis, connection: RedisConnection
) -> None:
    await store.record([(PINGS[0], "phone", 0)], AwaitedLogEntry(1, 1))
    assert await Receipts(connection).report(PINGS[0]) is None
    assert 0 < await redis_client.ttl(keys.receipt(BATCH)) <= 3600 + keys.RECEIPT_SLACK_S
    assert await redis_client.zscore(keys.RECEIPTS, keys.receipt(BATCH)) is not None
    await receipts(redis_client)
    report = await Receipts(connection).report(PINGS[0])
    assert report is not None
    assert report["devices"][0]["synced_after_s"] == 0


async def test_a_key_of_another_type_stops_no_other_sync(store: EffectStore, redis_client: Redis) -> None:
    await receipts(redis_client)
    broken = "1" * 32
    await redis_client.set(keys.receipt(broken[:28]), "text")
    assert await store.record([(broken, "phone", 1), (PINGS[0], "phone", 1)], AwaitedLogEntry(1, 1)) == [
        True,
        True,
    ]
    assert await redis_client.hexists(keys.receipt(BATCH), "0:synced:phone")


async def test_the_log_drops_its_oldest_entries_and_ends(store: EffectStore, redis_client: Redis) -> None:
    entries = [AwaitedLogEntry(number, 1, (ADDED,), (("phone", PINGS[0]),)) for number in range(4)]
    for entry in entries:
        await store.record([], entry, drop=int(entry.number == 3) * 2)
    await redis_client.rpush(keys.awaited_syncs("one:0"), b"\xff")
    assert await store.awaited_log() == entries[2:]
    assert 0 < await redis_client.ttl(keys.awaited_syncs("one:0")) <= 1_200


@pytest.mark.parametrize(
    "group",
    [
        (BATCH[:-1], 1, "apns", "", False, ["phone"], [0]),
        (BATCH.upper(), 1, "apns", "", False, ["phone"], [0]),
        (BATCH, 1, "apns", "", False, ["phone"], [-1]),
        (BATCH, 1, "apns", "", False, ["phone"], [65_536]),
        (BATCH, 1, "apns", "", False, ["phone"], []),
        (BATCH, 1, "apns", "", False, [], [0]),
    ],
)
async def test_a_damaged_entry_of_the_log_is_omitted(
    store: EffectStore, redis_client: Redis, group: tuple[object, ...]
) -> None:
    await redis_client.rpush(keys.awaited_syncs("one:0"), encode((1, 1, (group,))))
    assert await store.awaited_log() == []


def test_a_damaged_field_counts_nothing() -> None:
    report = {"devices": [{"client_id": "phone"}, {"client_id": "other"}]}
    fields = {"0:synced": b"-3", "0:synced:phone": b"x", "1:synced:other": b"4", "0:acked": b"1"}
    assert add_effects(report, fields, 0) == {
        "devices": [{"client_id": "phone", "synced_after_s": 0}, {"client_id": "other"}],
        "synced": 1,
    }
