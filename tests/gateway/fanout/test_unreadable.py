"""Entries that cannot be read or planned: each is put aside, and those that were read with it are delivered.

In the run in which they come, and by a worker that finds them among what it held before.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.queue.entries import Chunk, Entry, encode
from gateway.queue.receipts import Receipts
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import working
from tests.support.worker_core import WorkerCore, pipeline, until

PIN = "ab" * 32
BATCH = "0123456789ab7def8123456789ab"
PING = Ping(users=("bob",), message="odd")
PING_ID = BATCH + "0000"
PIECE = Chunk(Ping(id=PING_ID, message="odd"), clients=("client",))


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


def entry(**changes: Any) -> bytes:
    return encode(msgspec.structs.replace(Entry(BATCH, 1, (PING,)), **changes))


def chunk(**changes: Any) -> bytes:
    return encode(msgspec.structs.replace(PIECE, **changes))


def as_list(packed: bytes, index: int, value: Any) -> bytes:
    fields = msgspec.msgpack.decode(packed)
    return encode([*fields[:index], value, *fields[index + 1 :]])


NO_VALUE = {
    "empty": b"",
    "no msgpack": b"\xc1",
    "a map": b"\x80",
    "an int": b"\x05",
    "cut short": b"\x94\xa1",
}
NO_VALUE["nested"] = nested(100_000)
ENTRIES = {
    "no pings": entry(pings=()),
    "too many pings": entry(pings=(PING,) * 300),
    "a batch that is none": entry(batch_id="x" * 28),
    "a short batch": entry(batch_id=""),
    "a negative instant": entry(accepted_ms=-1),
    "no instant": entry(accepted_ms=2**63 - 1),
    "an instant of text": as_list(entry(), 1, "now"),
    "pings of another type": as_list(entry(), 2, 7),
    "users of another type": as_list(entry(), 2, [["", 0, [1, 2]]]),
    "users as text": as_list(entry(), 2, [["", 0, "bob"]]),
    "another version": encode({"version": 9}),
    "a deep ping": b"\x93" + encode(BATCH) + b"\x01\x91\x95\xa0\x00\x91\xa3bob\x90" + nested(100_000),
}
BROADCASTS = {
    "a thousand million chunks": entry(chunk_count=10**9),
    "negative chunks": entry(chunk_count=-1),
    "two pings": entry(pings=(PING, PING), chunk_count=1),
}
PIECES = {
    "an id that is none": chunk(ping=Ping(id="x")),
    "an id of other letters": chunk(ping=Ping(id="g" * 32)),
    "a chunk far away": chunk(chunk_index=10**9),
    "a chunk below all": chunk(chunk_index=-7),
    "a negative attempt": chunk(attempt=-1),
    "attempts without end": chunk(attempt=2**63),
    "no first instant": chunk(first_ms=2**63),
    "clients of another type": as_list(chunk(), 2, [1]),
    "clients as text": as_list(chunk(), 2, "client"),
    "another version": encode({"version": 9}),
}
CASES = [
    (stream, name, payload)
    for stream, payloads in (
        (keys.PINGS, NO_VALUE | ENTRIES),
        (keys.BROADCASTS, NO_VALUE | ENTRIES | BROADCASTS),
        (keys.RETRIES, NO_VALUE | PIECES),
        (keys.CHUNKS, NO_VALUE | PIECES),
    )
    for name, payload in payloads.items()
]
COUNTS = ("1" * 5_000, "-1", "x", "", "nan", "1.5", "²")


@pytest.fixture
async def bob(redis_client: Redis) -> AsyncIterator[None]:
    await lay_user(redis_client, "bob", [apple(PIN)])
    yield


async def _delivered(one: WorkerCore, redis: Redis, ping_id: str) -> dict[str, Any]:
    """Run the loops until everything is off the streams; the report of the good ping."""
    one.consumer.start()
    for stream in keys.STREAMS:
        await until(lambda stream=stream: _empty(redis, stream))
    await one.consumer.close()
    return await one.report(ping_id)


async def _empty(redis: Redis, stream: str) -> bool:
    return bool(await redis.xlen(stream) == 0)


@pytest.mark.parametrize("again", [False, True], ids=["in the run", "after a restart"])
async def test_unreadable_entries_are_quarantined_and_the_rest_delivered(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    bob: None,
    again: bool,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        for stream, _, payload in CASES:
            await redis_client.xadd(stream, {"e": payload, "n": 1, "s": 1})
        for count in COUNTS:
            await redis_client.xadd(keys.PINGS, {"e": b"\xc1", "n": count, "s": count})
        ping_id = await one.append("bob")
        if again:  # its consumer ends with all of them in hand
            for stream in keys.STREAMS:
                await one.read(stream, 1_000)
    async with pipeline(redis_address, tmp_path, settings) as one:
        report = await _delivered(one, redis_client, ping_id)
    assert report["counts"]["accepted"] == len(apns.received) == 1
    records = [record for _, record in await redis_client.xrange(keys.UNREADABLE)]
    kept = {(record[b"stream"].decode(), msgspec.msgpack.decode(record[b"fields"])[1]) for record in records}
    assert [name for stream, name, payload in CASES if (stream, payload) not in kept] == []
    assert len(records) == len(CASES) + len(COUNTS)
    assert all(record[b"reason"] and int(record[b"at_ms"]) for record in records)


@pytest.mark.parametrize(
    ("stream", "payload", "device"),
    [
        (keys.PINGS, entry(accepted_ms=-1), ""),
        (keys.PINGS, ENTRIES["users of another type"], ""),
        (keys.BROADCASTS, entry(chunk_count=10**9), ""),
        (keys.CHUNKS, chunk(chunk_index=10**9, clients=()), ""),
        (keys.RETRIES, chunk(attempt=-1), "client"),
    ],
)
async def test_quarantined_pings_have_a_verdict(
    redis_address: str, redis_client: Redis, tmp_path: Path, stream: str, payload: bytes, device: str
) -> None:
    async with pipeline(redis_address, tmp_path) as one:
        if stream in (keys.CHUNKS, keys.RETRIES):
            await redis_client.hset(keys.receipt(BATCH), "0:open", 1)
        await redis_client.xadd(stream, {"e": payload, "n": 1, "s": 1})
        good = await one.append("nobody")
        await _delivered(one, redis_client, good)
        report = await one.report(PING_ID)
    assert report["state"] == "done"
    found = {device["client_id"]: (device["verdict"], device["reason"]) for device in report["devices"]}
    if device:
        assert found == {device: ("rejected", "unreadable")}
    else:
        assert (found, report["skipped"]) == ({}, {"unreadable": 1})
    assert keys.receipt(BATCH) in {name.decode() for name in await redis_client.zrange(keys.RECEIPTS, 0, -1)}


async def test_a_ping_without_users_is_settled(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    """`HINCRBY` takes no `-0`: the counts of what was accepted go down by whatever they went up."""
    async with pipeline(redis_address, tmp_path) as one:
        ping_id = (await one.queue.append(Ping(), 0)).ping_id
        report = await _delivered(one, redis_client, ping_id)
    assert (report["state"], report["devices"]) == ("done", [])
    assert await redis_client.hmget(keys.STATS, "pings", "bytes") == [b"0", b"0"]


async def test_an_empty_body_is_a_ping_to_nobody_with_a_receipt(redis_address: str, tmp_path: Path) -> None:
    headers = {"Content-Type": "application/json"}
    async with working(tmp_path, redis_address, {}) as worker:
        for body in (b"{}", b"", b'{"user_id":[]}'):
            answer = await worker.request("POST", "/rc/v1/users/ping", data=body, headers=headers)
            assert answer.status == 200, body
            await worker.done(answer.ping_id)


WRONG = {
    "users of a broadcast": keys.broadcast_users,
    "devices that it reached": keys.broadcast_devices,
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_key_of_another_type_stops_its_broadcast_alone(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    bob: None,
    name: str,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        odd = await one.append("bob", *(f"nobody{n}" for n in range(keys.BROADCAST_USERS)))
        good = await one.append(*(f"nobody{n}" for n in range(keys.BROADCAST_USERS)), "bob")
        await redis_client.delete(WRONG[name](odd))
        await redis_client.set(WRONG[name](odd), "of another type")
        report = await _delivered(one, redis_client, good)
        assert report["counts"]["accepted"] == 1
        assert (await one.report(odd))["state"] == "done"
    assert (await one_record(redis_client))[b"reason"].startswith(b"WRONGTYPE")


async def one_record(redis: Redis) -> dict[bytes, bytes]:
    ((_, record),) = await redis.xrange(keys.UNREADABLE)
    return dict(record)


DAMAGED = {
    "no msgpack": b"\xc1",
    "of another unit": encode([[], b"", [], []]),
    "a bitmap that is too short": encode([[["client"] * 20], b"", [], [{}]]),
    "a place that is not there": encode([[["client"]], b"\0", [[7, 1, "x"]], [{}]]),
    "a verdict that is none": encode([[["client"]], b"\0", [[0, 9, "x"]], [{}]]),
}


@pytest.mark.parametrize("damage", [*DAMAGED, "another type"])
async def test_progress_that_cannot_be_read_costs_no_ping(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    bob: None,
    damage: str,
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("bob")
        good = await one.append("bob")
        lease, _ = await one.read(keys.PINGS)
        name = keys.progress(lease.stream, lease.entry)
        if damage in DAMAGED:
            await redis_client.hset(name, "verdicts", DAMAGED[damage])
        else:
            await redis_client.set(name, "of another type")
    async with pipeline(redis_address, tmp_path, settings) as back:
        assert (await _delivered(back, redis_client, good))["counts"]["accepted"] == 1
        assert (await back.report(ping_id))["counts"]["accepted"] == 1
    assert len(apns.received) == 2


async def test_a_receipt_of_another_type_costs_no_retry(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    bob: None,
) -> None:
    apns.faults.add("503:next=1")
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("bob")
        await redis_client.set(keys.receipt(ping_id[:28]), "of another type")
        one.consumer.start()
        await until(lambda: len(apns.received.accepted) == 1)
        await until(lambda: _empty(redis_client, keys.RETRIES))
        assert await one.in_flight.wait_empty(30)
        await one.consumer.close()


async def test_a_due_retry_without_a_body_is_quarantined(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with pipeline(redis_address, tmp_path) as one:
        await redis_client.zadd(keys.SCHEDULE, {"lost": 1, "odd": 2})
        await redis_client.hset(keys.SCHEDULE_BODIES, "odd", b"\xc1")
        good = await one.append("nobody")
        one.consumer.start()
        await until(lambda: _records(redis_client, 2))
        await one.consumer.close()
        assert (await one.report(good))["state"] == "done"
    fields = [
        msgspec.msgpack.decode(record[b"fields"]) for _, record in await redis_client.xrange(keys.UNREADABLE)
    ]
    assert [b"e", b"", b"n", b"0", b"s", b"0", b"name", b"lost"] in fields


async def _records(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(keys.UNREADABLE) == count)


async def test_deleted_entries_hide_no_later_entry(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with pipeline(redis_address, tmp_path) as one:
        gone = [await redis_client.xadd(keys.PINGS, {"e": b"", "n": 0, "s": 0}) for _ in range(250)]
        ping_id = await one.append("nobody")
        assert len(await one.read(keys.PINGS, 1_000)) == 251
        await redis_client.xdel(keys.PINGS, *gone)
    async with pipeline(redis_address, tmp_path) as back:
        assert (await _delivered(back, redis_client, ping_id))["state"] == "done"


@pytest.mark.parametrize(
    "fields",
    [
        {"base": b"\xc1"},
        {"0:open": b"x", "base": encode([[1]])},
        {"0+1-0": b"\xc1", "0+" + "9" * 5_000: encode([1])},
    ],
)
async def test_a_damaged_receipt_is_reported_as_far_as_it_is_readable(
    redis_address: str, redis_client: Redis, tmp_path: Path, fields: dict[str, bytes]
) -> None:
    await redis_client.hset(keys.receipt(BATCH), mapping=fields)
    async with pipeline(redis_address, tmp_path) as one:
        found = await Receipts(one.reader).report(PING_ID)
    assert found is not None
    assert found["state"] == "done"
