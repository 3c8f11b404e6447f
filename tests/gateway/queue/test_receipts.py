"""The reports of pings, and their lifetime."""

import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import ReceiptField, Settlement, Streams
from gateway.queue.entries import Lease
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import (
    DeviceVerdict,
    PingRecord,
    Receipts,
    joined_errors,
    pack_base,
    pack_delta,
    report_of,
    split,
)
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind

BATCH = "0" * 28
FIRST, SECOND = f"{BATCH}0000", f"{BATCH}0001"


@pytest.fixture
async def receipts(connection: RedisConnection) -> Receipts:
    return Receipts(connection)


def later(client: str, kind: VerdictKind = VerdictKind.LATER) -> DeviceVerdict:
    return DeviceVerdict(client, "apns", kind, "ServiceUnavailable")


async def test_a_ping_that_was_never_sent_is_unknown(receipts: Receipts) -> None:
    assert await receipts.report(FIRST) is None


@pytest.mark.parametrize("name", ["", "x", "0" * 31, "g" * 32, "0" * 33, "../" * 11])
async def test_a_text_that_cannot_be_an_id_is_unknown(receipts: Receipts, name: str) -> None:
    assert await receipts.report(name) is None


def test_an_id_is_a_batch_and_an_index() -> None:
    assert split(f"{BATCH}00c7") == (BATCH, 199)


@pytest.mark.parametrize("attempt", [0, 1, 3])
@pytest.mark.parametrize("stream", [keys.PINGS, keys.BROADCASTS])
@pytest.mark.parametrize(("marker", "state"), [(b"17-0", "queued"), (keys.VOID, None)])
async def test_before_its_first_verdict_a_ping_is_queued(
    receipts: Receipts, redis_client: Redis, stream: str, attempt: int, marker: bytes, state: str | None
) -> None:
    await redis_client.xadd(stream, {"e": b""}, id="17-0")
    await redis_client.set(keys.marker(BATCH, attempt), marker)
    found = await receipts.report(FIRST)
    assert (found and found["state"]) == state


async def test_a_ping_whose_receipt_has_expired_is_unknown_and_not_queued(
    receipts: Receipts, redis_client: Redis
) -> None:
    await redis_client.set(keys.marker(BATCH, 0), b"17-0")  # lives 10 minutes, whatever becomes of the ping
    assert await receipts.report(FIRST) is None


@pytest.mark.parametrize(("appended", "state"), [(True, "queued"), (False, None)])
async def test_a_small_ping_that_waits_longer_than_its_marker_lives_is_queued(
    receipts: Receipts, redis_client: Redis, connection: RedisConnection, appended: bool, state: str | None
) -> None:
    queue = QueueProducer(connection, BacklogLimits(100, 1_000_000))
    ping_id = (await queue.append(Ping(users=("bob",)), 100)).ping_id
    await redis_client.delete(keys.marker(ping_id[:28], 0))
    if not appended:
        await redis_client.delete(keys.PINGS)
    found = await receipts.report(ping_id)
    assert (found and found["state"]) == state


@pytest.mark.parametrize("users", [1, keys.BROADCAST_USERS + 1])
async def test_an_index_that_the_entry_does_not_have_is_unknown(
    receipts: Receipts, connection: RedisConnection, users: int
) -> None:
    queue = QueueProducer(connection, BacklogLimits(100, 1_000_000))
    ping_id = (await queue.append(Ping(users=("bob",) * users), 100)).ping_id
    assert await receipts.report(ping_id) is not None
    assert await receipts.report(f"{ping_id[:28]}0001") is None


@pytest.mark.parametrize(("appended", "state"), [(True, "queued"), (False, None)])
async def test_a_broadcast_that_waits_longer_than_its_marker_lives_is_queued(
    receipts: Receipts, redis_client: Redis, connection: RedisConnection, appended: bool, state: str | None
) -> None:
    """Thousands may wait to be cut. Users may be kept for one whose append failed, too."""
    queue = QueueProducer(connection, BacklogLimits(100, 1_000_000))
    ids = [(await queue.append(Ping(users=("bob",) * 201), 100)).ping_id for _ in range(2)]
    await redis_client.delete(*[keys.marker(ping_id[:28], 0) for ping_id in ids])
    if not appended:
        oldest = (await redis_client.xrange(keys.BROADCASTS, count=1))[0][0]
        await redis_client.xdel(keys.BROADCASTS, oldest)
    found = await receipts.report(ids[0])
    assert (found and found["state"]) == state


async def test_pings_of_a_batch_have_their_own_records(receipts: Receipts, redis_client: Redis) -> None:
    base = pack_base([PingRecord(1, (("c1", "apns"),)), PingRecord(0, (), (), {"unknown_user": 1})])
    await redis_client.hset(keys.receipt(BATCH), "base", base)
    assert await receipts.report(FIRST) == {
        "ping_id": FIRST,
        "state": "done",
        "counts": {"accepted": 1, "rejected": 0, "later": 0},
        "skipped": {},
        "devices": [{"client_id": "c1", "provider": "apns", "verdict": "accepted"}],
    }
    second = await receipts.report(SECOND)
    assert second is not None
    assert (second["state"], second["skipped"]) == ("done", {"unknown_user": 1})
    assert await receipts.report(f"{BATCH}0002") is None


async def test_the_last_verdict_on_a_device_counts(receipts: Receipts, redis_client: Redis) -> None:
    name = keys.receipt(BATCH)
    await redis_client.hset(name, "base", pack_base([PingRecord(1, (), (later("c1"), later("c2")))]))
    await redis_client.hset(name, "0:open", 1)
    found = await receipts.report(FIRST)
    assert found is not None
    assert (found["state"], found["counts"]) == ("open", {"accepted": 1, "rejected": 0, "later": 2})
    # Entry ids sort by number, not by letter.
    gone = DeviceVerdict("c2", "apns", VerdictKind.REJECTED, "expired")
    await redis_client.hset(
        name, "0+9-0", pack_delta(PingRecord(0, (), (later("c1", VerdictKind.UNKNOWN), gone)))
    )
    await redis_client.hset(name, "0+10-0", pack_delta(PingRecord(1, (("c1", "apns"),))))
    await redis_client.hset(name, "0:open", 0)
    found = await receipts.report(FIRST)
    assert found is not None
    assert (found["state"], found["counts"]) == ("done", {"accepted": 2, "rejected": 1, "later": 0})
    assert joined_errors(found) == "apns: expired"


def test_errors_are_joined_as_rhoconnect_does() -> None:
    devices = [
        {"provider": "apns", "verdict": "rejected", "reason": "Unregistered"},
        {"provider": "apns", "verdict": "accepted"},
        {"provider": "fcm", "verdict": "rejected", "reason": "expired"},
    ]
    assert joined_errors({"devices": devices}) == "apns: Unregistered\\nfcm: expired"


# How long they are kept.


async def settle(redis: Redis, streams: Streams, batch: str, size: int, age_ms: int) -> str:
    """Settle an entry whose receipt has `size` bytes, so long ago."""
    entry = (await redis.xadd(keys.PINGS, {"e": b"", "n": 1, "s": 1})).decode()
    field = ReceiptField(keys.receipt(batch), "base", b"x" * size)
    done: list[object] = []
    streams.settle(Settlement(Lease(keys.PINGS, entry, b"", 1, 1, False), [field]), 0, done.append)
    while not done:
        await redis.ping()
    assert done == [1]
    await redis.zincrby(keys.RECEIPTS, -age_ms, keys.receipt(batch))
    return keys.receipt(batch)


@pytest.fixture
async def streams(connection: RedisConnection) -> Streams:
    found = Streams(connection, "tested:0", 3600)
    await found.prepare()
    return found


async def test_receipts_expire_by_age(streams: Streams, redis_client: Redis) -> None:
    names = [await settle(redis_client, streams, f"batch{n}", 10, 90_000 - 30_000 * n) for n in range(3)]
    assert await streams.trim_receipts(75_000, 1_000_000) == 1
    assert [await redis_client.exists(name) for name in names] == [0, 1, 1]
    assert await redis_client.hget(keys.STATS, "receipt_bytes") == b"20"


@pytest.mark.parametrize(("most", "left"), [(31, 3), (30, 3), (29, 2), (20, 2), (0, 0)])
async def test_the_oldest_are_deleted_when_all_are_too_large(
    streams: Streams, redis_client: Redis, most: int, left: int
) -> None:
    names = [await settle(redis_client, streams, f"batch{n}", 10, 90_000 - 30_000 * n) for n in range(3)]
    assert await streams.trim_receipts(1_000_000, most) == 3 - left
    assert [await redis_client.exists(name) for name in names] == [0] * (3 - left) + [1] * left
    assert int(await redis_client.hget(keys.STATS, "receipt_bytes") or 0) == 10 * left


async def test_the_index_of_a_receipt_that_expired_in_redis_is_removed(
    streams: Streams, redis_client: Redis
) -> None:
    names = [await settle(redis_client, streams, f"batch{n}", 10, 120_000 - 30_000 * n) for n in range(4)]
    await redis_client.delete(*names[:3])
    assert await streams.trim_receipts(45_000, 1_000_000) == 3
    assert await redis_client.hget(keys.STATS, "receipt_bytes") == b"10"


async def test_a_receipt_without_a_size_is_dropped(streams: Streams, redis_client: Redis) -> None:
    """The last piece of a broadcast was settled after its receipt had been trimmed for room."""
    await settle(redis_client, streams, "batch", 10, 0)
    await redis_client.hset(keys.receipt("late"), "0:open", -1)
    await redis_client.zadd(keys.RECEIPTS, {keys.receipt("late"): 1000})
    assert await streams.trim_receipts(1_000_000, 1_000_000) == 1
    assert await redis_client.hget(keys.STATS, "receipt_bytes") == b"10"


async def test_a_receipt_with_a_future_time_expires_like_one_of_now(
    streams: Streams, redis_client: Redis
) -> None:
    """Redis' clock was set back by a day: it would outlive all others, and they would end for its room."""
    early = await settle(redis_client, streams, "early", 10, -86_400_000)
    assert await streams.trim_receipts(1_000_000, 1_000_000) == 0
    scores = dict(await redis_client.zrange(keys.RECEIPTS, 0, -1, withscores=True))
    seconds, _ = await redis_client.time()
    assert abs(scores[early.encode()] / 1000 - seconds) < 60


async def test_redis_expires_a_receipt_that_is_not_trimmed(streams: Streams, redis_client: Redis) -> None:
    name = await settle(redis_client, streams, "batch", 10, 0)
    assert 3600 < await redis_client.ttl(name) <= 3600 + keys.RECEIPT_SLACK_S


@pytest.mark.parametrize(
    "damaged", [b"", b"\xc1", b"\x91" * 100_000, b"\x93\xff", b"1" * 5_000], ids=range(5)
)
async def test_a_field_that_cannot_be_read_leaves_the_rest_of_a_report(
    receipts: Receipts, redis_client: Redis, damaged: bytes
) -> None:
    batch = "0" * 28
    kept = {
        "base": pack_base([PingRecord(2)]),
        "0+1-0": damaged,
        "0+x-y": pack_delta(PingRecord(1)),
        "0:open": damaged,
    }
    await redis_client.hset(keys.receipt(batch), mapping=kept)
    report = await receipts.report(batch + "0000")
    assert report is not None
    assert (report["state"], report["counts"]["accepted"]) == ("done", 3)
    await redis_client.hset(keys.receipt(batch), "base", damaged)
    report = await receipts.report(batch + "0000")
    assert report is not None
    assert report["counts"]["accepted"] == 1


@pytest.mark.parametrize("name", ["0x" + "0" * 30, "+" + "0" * 31, "0_" * 16, "\uff10" * 32, " " * 31 + "0"])
def test_only_hexadecimal_digits_are_an_id(name: str) -> None:
    with pytest.raises(ValueError, match="32 hex digits"):
        split(name)


def test_a_provider_that_an_earlier_version_stored_has_its_present_name() -> None:
    refused = DeviceVerdict("c", "rps", VerdictKind.REJECTED, "not registered")
    report = report_of(FIRST, pack_delta(PingRecord(2, (("a", "rps"), ("b", "apns")), (refused,))))
    providers = {device["client_id"]: device["provider"] for device in report["devices"]}
    assert providers == {"a": "rhoconnect_push", "b": "apns", "c": "rhoconnect_push"}
    assert joined_errors(report) == "rhoconnect_push: not registered"


async def test_a_cancelled_retry_keeps_the_provider_of_its_device(
    receipts: Receipts, redis_client: Redis
) -> None:
    name = keys.receipt(BATCH)
    await redis_client.hset(name, "base", pack_base([PingRecord(0, (), (later("c1"),))]))
    gone = DeviceVerdict("c1", "", VerdictKind.REJECTED, "cancelled")
    await redis_client.hset(name, "0+9-0", pack_delta(PingRecord(0, (), (gone,))))
    found = await receipts.report(FIRST)
    assert found is not None
    assert found["devices"] == [{"client_id": "c1", "provider": "apns", "verdict": "cancelled"}]
