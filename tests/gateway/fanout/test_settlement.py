"""What settling a unit tells the doors that wait."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis as AsyncRedis

from gateway.delivery.batch import Postponed, Unit
from gateway.fanout.in_flight import Ledger
from gateway.fanout.settlement import settlement
from gateway.queue.consumer import Settlement, Streams
from gateway.queue.entries import Lease
from gateway.queue.receipts import Record, pack_delta, report_of
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Kind, Verdict
from tests.support.worker_core import spine

BATCH = "0" * 28


def unit(stream: str) -> Unit:
    """Two pings for two devices each, the first of which has both its verdicts."""
    pings = [Ping(id=f"{BATCH}{place:04x}", reply_to="door") for place in range(2)]
    found = Unit(Lease(stream, "1-0", b"", 2, 9, False), BATCH, pings, lambda _: None)
    for number in range(2):
        found.begin_ping({"repeated": number})
        for device in "ab":
            found.add_place(f"{device}{number}", "apns")
    found.planned()
    found.accept(0)
    found.reject(1, "Unregistered")
    found.accept(2)
    return found


def test_a_door_is_told_the_whole_record_of_a_ping_that_is_done() -> None:
    one = unit(keys.PINGS)
    one.postpone(3, Verdict(Kind.LATER, "busy"), Postponed(5_000, 1, ""))
    done, open_still = settlement(one).waiting
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


def test_a_door_whose_sends_are_all_accepted_is_told_so() -> None:
    one = unit(keys.PINGS)
    one.accept(3)
    told = settlement(one).waiting[1]
    assert told.record == pack_delta(Record(2, (("a1", "apns"), ("b1", "apns")), (), {"repeated": 1}))


def test_a_door_must_ask_where_a_retry_is_only_the_last_part_of_a_ping() -> None:
    one = unit(keys.RETRIES)
    one.accept(3)
    assert [door.record for door in settlement(one).waiting] == [b"", b""]


def broadcast_part(stream: str, entry: str, device: str) -> Unit:
    """A part of one broadcast, for one device whose send is accepted."""
    found = Unit(
        Lease(stream, entry, b"", 0, 0, False), BATCH, [Ping(id=f"{BATCH}0000")], lambda _: None, bulk=True
    )
    found.begin_ping({})
    found.add_place(device, "apns")
    found.accept(0)
    return found


async def counts(redis_address: str, redis: AsyncRedis, folder: Path, units: Sequence[Unit]) -> Any:
    """What the report says once these are settled."""
    for unit in units:
        for receipt in settlement(unit).receipts:
            if isinstance(receipt.value, bytes):
                await redis.hset(receipt.key, receipt.field, receipt.value)
    async with spine(redis_address, folder) as one:
        return (await one.report(f"{BATCH}0000"))["counts"]


async def test_a_piece_and_a_retry_of_one_millisecond_have_a_record_each(
    redis_address: str, redis_client: AsyncRedis, tmp_path: Path
) -> None:
    """Each stream numbers its own entries: the script that cuts and the one that calls retries may give one id."""
    units = [broadcast_part(keys.PIECES, "5-0", "a"), broadcast_part(keys.RETRIES, "5-0", "b")]
    assert (await counts(redis_address, redis_client, tmp_path, units))["accepted"] == 2


async def test_a_retry_has_the_last_word_though_the_clock_of_redis_went_back(
    redis_address: str, redis_client: AsyncRedis, tmp_path: Path
) -> None:
    piece = broadcast_part(keys.PIECES, "9-0", "a")
    piece.add_place("b", "apns")
    piece.postpone(1, Verdict(Kind.LATER, "busy"), Postponed(5_000, 1, ""))
    found = await counts(
        redis_address, redis_client, tmp_path, [piece, broadcast_part(keys.RETRIES, "5-0", "b")]
    )
    assert found == {"accepted": 2, "rejected": 0, "later": 0}


class Doors:
    """The doors of one process, and what they hear."""

    channel = "door"

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def hear(self, ping_id: str, record: bytes) -> None:
        self.heard.append((ping_id, record))


class Redis:
    """Stands in for the streams: what is to be written."""

    def __init__(self) -> None:
        self.written: list[Settlement] = []

    def settle(self, done: Settlement, *_: Any) -> None:
        self.written.append(done)


@pytest.mark.parametrize(
    ("channel", "postponed", "here", "elsewhere"),
    [("door", False, 2, 0), ("another", False, 0, 2), ("door", True, 1, 1)],
    ids=["of this process", "of another", "one that is not over"],
)
async def test_doors_of_this_process_hear_at_once_and_others_through_redis(
    channel: str, postponed: bool, here: int, elsewhere: int
) -> None:
    doors, redis, one = Doors(), Redis(), unit(keys.PINGS)
    doors.channel = channel
    one.settled = Ledger(cast(Streams, redis), ear=doors).settled
    if postponed:
        one.postpone(3, Verdict(Kind.LATER, "busy"), Postponed(5_000, 1, ""))
    else:
        one.accept(3)
    (written,) = redis.written
    assert (len(doors.heard), len(written.waiting)) == (here, elsewhere)
    assert doors.heard == [(door.ping_id, door.record) for door in settlement(one).waiting][:here]
