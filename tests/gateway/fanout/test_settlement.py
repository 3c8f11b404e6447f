"""Settlements, and the outcomes that waiting requests get from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis as AsyncRedis

from gateway.delivery.batch import DeliveryBatch, Postponed
from gateway.fanout.in_flight import InFlight
from gateway.fanout.settlement import (
    broadcast_without_users,
    build_settlement,
    cancelled_broadcast,
    scanned_broadcast,
    split_broadcast,
    without_own_keys,
)
from gateway.queue.consumer import PingWaiter, ReceiptField, Settlement, Streams
from gateway.queue.entries import Chunk, Entry, Lease
from gateway.queue.receipts import PingRecord, field_of, pack_delta, report_of
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind
from tests.support.worker_core import pipeline

BATCH = "0" * 28


def batch(stream: str, on_complete: Callable[[DeliveryBatch], None] = lambda _: None) -> DeliveryBatch:
    """Two pings for two devices each, the first of which has both its verdicts."""
    pings = [Ping(id=f"{BATCH}{index:04x}", reply_to="this-process") for index in range(2)]
    found = DeliveryBatch(Lease(stream, "1-0", b"", 2, 9, False), BATCH, pings, on_complete)
    for number in range(2):
        found.begin_ping({"repeated": number})
        for device in "ab":
            found.add_delivery(f"{device}{number}", "apns")
    found.finish_planning()
    found.accept(0)
    found.reject(1, "Unregistered")
    found.accept(2)
    return found


def test_a_waiting_request_gets_the_complete_record_of_a_finished_ping() -> None:
    one = batch(keys.PINGS)
    one.postpone(3, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 1, ""))
    done, open_still = build_settlement(one).waiters
    assert report_of(done.ping_id, done.record) == {
        "ping_id": f"{BATCH}0000",
        "state": "done",
        "counts": {"accepted": 1, "rejected": 1, "later": 0},
        "skipped": {"repeated": 0},
        "devices": [
            {"client_id": "a0", "provider": "apns", "verdict": "accepted"},
            {"client_id": "b0", "provider": "apns", "verdict": "rejected", "reason": "Unregistered"},
        ],
    }
    assert open_still.record == b""


def test_a_waiting_request_gets_the_record_of_accepted_deliveries() -> None:
    one = batch(keys.PINGS)
    one.accept(3)
    told = build_settlement(one).waiters[1]
    assert told.record == pack_delta(PingRecord(2, (("a1", "apns"), ("b1", "apns")), (), {"repeated": 1}))


def test_a_waiting_request_reads_the_receipt_if_a_retry_is_the_last_part() -> None:
    one = batch(keys.RETRIES)
    one.accept(3)
    assert [waiter.record for waiter in build_settlement(one).waiters] == [b"", b""]


def test_a_split_broadcast_subtracts_the_count_of_its_splitting() -> None:
    lease, ping = (
        Lease(keys.BROADCASTS, "1-0", b"", 1, 9, False),
        Ping(id=f"{BATCH}0000", reply_to="this-process"),
    )
    key = keys.receipt(BATCH)
    assert split_broadcast(lease, BATCH, ping) == Settlement(
        lease, [ReceiptField(key, "0:open", -1)], (), [PingWaiter("this-process", ping.id, key, "0:open")]
    )


def test_a_broadcast_with_a_limit_to_apps_has_it_in_its_receipt_before_its_chunks() -> None:
    lease = Lease(keys.BROADCASTS, "1-0", b"", 1, 9, False)
    ping = Ping(id=f"{BATCH}0000", apps=("a",))
    limit = ReceiptField(keys.receipt(BATCH), "0+0-1-0-0", pack_delta(PingRecord(apps=("a",))))
    for found in (split_broadcast(lease, BATCH, ping), scanned_broadcast(lease, ping, {})):
        assert limit in found.receipts


def test_the_receipt_of_a_broadcast_without_users_states_this() -> None:
    lease, ping = Lease(keys.BROADCASTS, "1-0", b"", 1, 9, False), Ping(id=f"{BATCH}0000")
    found = broadcast_without_users(lease, BATCH, ping, {"lost_part": 3})
    record = pack_delta(PingRecord(skipped={"lost_part": 3}))
    assert found == Settlement(lease, [ReceiptField(keys.receipt(BATCH), "0+0-1-0-1", record)], (), [])


def test_no_record_of_a_broadcast_itself_has_the_name_of_a_record_of_its_chunks() -> None:
    """Redis gives entries of two streams the same id in the same millisecond."""
    lease, ping = Lease(keys.BROADCASTS, "5-0", b"", 1, 9, False), Ping(id=f"{BATCH}0000", apps=("a",))
    entry = Entry(BATCH, 1_000, (ping,), chunk_count=2)
    found = [
        split_broadcast(lease, BATCH, ping),
        broadcast_without_users(lease, BATCH, ping, {"lost_part": 3}),
        cancelled_broadcast(lease, entry, ping, 1, 400),
        scanned_broadcast(lease, ping, {"unknown_user": 1}),
    ]
    names = [[field.field for field in one.receipts] for one in found]
    assert all(len(set(one)) == len(one) for one in names)
    assert field_of(0, keys.CHUNKS, "5-0") not in {name for one in names for name in one}


def test_a_settlement_without_its_own_keys_keeps_retries_and_counts() -> None:
    one = batch(keys.PINGS)
    one.postpone(3, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 1, ""))
    whole = build_settlement(one)
    reduced = without_own_keys(whole)
    assert reduced == Settlement(whole.lease, retries=whole.retries, unparked=[])
    assert len(whole.retries) == 1
    assert without_own_keys(reduced) is None


def broadcast_part(stream: str, entry: str, device: str) -> DeliveryBatch:
    """A part of one broadcast, for one device whose send is accepted."""
    found = DeliveryBatch(
        Lease(stream, entry, b"", 0, 0, False), BATCH, [Ping(id=f"{BATCH}0000")], lambda _: None, bulk=True
    )
    found.begin_ping({})
    found.add_delivery(device, "apns")
    found.accept(0)
    return found


@pytest.mark.parametrize("bulk", [False, True])
def test_the_retry_of_a_broadcast_is_still_part_of_one(bulk: bool) -> None:
    found = DeliveryBatch(
        Lease(keys.CHUNKS, "1-0", b"", 0, 0, False),
        BATCH,
        [Ping(id=f"{BATCH}0000")],
        lambda _: None,
        bulk=bulk,
    )
    found.begin_ping({})
    found.add_delivery("a", "apns")
    found.postpone(0, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 1, ""))
    (retry,) = build_settlement(found).retries
    assert (retry.chunk.clients, retry.chunk.attempt, retry.chunk.bulk) == (("a",), 1, bulk)


@pytest.mark.parametrize(
    ("parked_in", "before_ms", "first_ms"),
    [("", 7_000, 7_000), ("apns:KEY", 7_000, 7_000), ("apns:KEY", 0, 0)],
)
def test_a_retry_keeps_the_time_of_the_first_attempt(parked_in: str, before_ms: int, first_ms: int) -> None:
    ping = Ping(id=f"{BATCH}0000")
    found = DeliveryBatch(
        Lease(keys.RETRIES, "1-0", b"", 0, 0, False),
        BATCH,
        [ping],
        lambda _: None,
        chunk=Chunk(ping, attempt=1, first_ms=before_ms),
    )
    found.begin_ping({})
    found.add_delivery("a", "apns")
    found.postpone(0, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 2, parked_in))
    (retry,) = build_settlement(found).retries
    assert retry.chunk.first_ms == first_ms


@pytest.mark.parametrize(("lane", "unparked"), [("", []), ("apns:KEY", [("apns:KEY", 2)])])
def test_parked_deliveries_that_come_back_leave_the_count_of_their_lane(
    lane: str, unparked: list[tuple[str, int]]
) -> None:
    ping = Ping(id=f"{BATCH}0000")
    found = DeliveryBatch(
        Lease(keys.RETRIES, "1-0", b"", 0, 0, False),
        BATCH,
        [ping],
        lambda _: None,
        chunk=Chunk(ping, lane=lane),
    )
    found.begin_ping({})
    for device in "ab":
        found.accept(found.add_delivery(device, "apns"))
    assert build_settlement(found).unparked == unparked


async def counts(
    redis_address: str, redis: AsyncRedis, folder: Path, batches: Sequence[DeliveryBatch]
) -> Any:
    """The report after these settlements."""
    for batch in batches:
        for receipt in build_settlement(batch).receipts:
            if isinstance(receipt.value, bytes):
                await redis.hset(receipt.key, receipt.field, receipt.value)
    async with pipeline(redis_address, folder) as one:
        return (await one.report(f"{BATCH}0000"))["counts"]


async def test_a_chunk_and_a_retry_of_one_millisecond_have_separate_records(
    redis_address: str, redis_client: AsyncRedis, tmp_path: Path
) -> None:
    """Each stream numbers its own entries: the script that cuts and the one that calls retries may give one id."""
    batches = [broadcast_part(keys.CHUNKS, "5-0", "a"), broadcast_part(keys.RETRIES, "5-0", "b")]
    assert (await counts(redis_address, redis_client, tmp_path, batches))["accepted"] == 2


async def test_the_verdict_of_a_retry_counts_although_redis_clock_was_set_back(
    redis_address: str, redis_client: AsyncRedis, tmp_path: Path
) -> None:
    chunk = broadcast_part(keys.CHUNKS, "9-0", "a")
    chunk.add_delivery("b", "apns")
    chunk.postpone(1, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 1, ""))
    found = await counts(
        redis_address, redis_client, tmp_path, [chunk, broadcast_part(keys.RETRIES, "5-0", "b")]
    )
    assert found == {"accepted": 2, "rejected": 0, "later": 0}


class Waiters:
    """The requests of one process that wait for their pings, and the outcomes that they get."""

    channel = "this-process"

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def complete(self, ping_id: str, record: bytes) -> None:
        self.heard.append((ping_id, record))


class Redis:
    """Stands in for the streams: what is to be written."""

    def __init__(self) -> None:
        self.written: list[Settlement] = []

    def settle(self, done: Settlement, *_: Any) -> None:
        self.written.append(done)


@pytest.mark.parametrize(
    ("channel", "postponed", "here", "elsewhere"),
    [("this-process", False, 2, 0), ("another", False, 0, 2), ("this-process", True, 1, 1)],
    ids=["of this process", "of another", "one that is not over"],
)
async def test_local_waiters_are_notified_directly_and_others_through_redis(
    channel: str, postponed: bool, here: int, elsewhere: int
) -> None:
    waiters, redis = Waiters(), Redis()
    waiters.channel = channel
    one = batch(keys.PINGS, InFlight(cast(Streams, redis), local_waiters=waiters).on_complete)
    if postponed:
        one.postpone(3, Verdict(VerdictKind.LATER, "busy"), Postponed(5_000, 1, ""))
    else:
        one.accept(3)
    (written,) = redis.written
    assert (len(waiters.heard), len(written.waiters)) == (here, elsewhere)
    assert (
        waiters.heard == [(waiter.ping_id, waiter.record) for waiter in build_settlement(one).waiters][:here]
    )
