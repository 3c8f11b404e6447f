"""From entries to deliveries: each once, also if an entry is read again."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.queue.entries import Chunk, Lease, encode
from gateway.registry.clients import Clients
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.support.rhoconnect import android, apple, lay_user, lay_users
from tests.support.worker_core import WorkerCore, now_ms, pipeline, until

APPLE = {"device_type": "APPLE", "device_push_type": "apple"}
Open = Callable[[], AbstractAsyncContextManager[WorkerCore]]


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    """Opens the same consumer, as often as a test wants it to come back."""
    return lambda: pipeline(redis_address, tmp_path, settings)


def pin(number: int) -> str:
    return f"{number:064x}"


async def lay_crowd(redis: Redis, count: int) -> list[str]:
    await lay_users(redis, {f"user{n}": [apple(pin(n))] for n in range(count)})
    return [f"user{n}" for n in range(count)]


def tokens(apns: ApnsSimulator) -> list[str]:
    return sorted(record.token for record in apns.received.accepted)


async def test_an_entry_that_is_read_twice_is_sent_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """A worker that comes back reads what it held while it already reads anew."""
    await lay_user(redis_client, "bob", [apple(pin(1))])
    async with opened() as one:
        ids = [await one.append("bob", message=f"ping {n}") for n in range(5)]
        leases = await one.read(keys.PINGS)
        again = await one.streams.resume(keys.PINGS)
        assert [lease.entry for lease in again] == [lease.entry for lease in leases]
        undone = await asyncio.gather(one.planner.deliver(leases), one.planner.deliver(again))
        assert undone == [[], []]
        for ping_id in ids:
            assert (await one.done(ping_id))["counts"]["accepted"] == 1
        assert sorted(record.summary.alert or "" for record in apns.received) == [
            f"ping {n}" for n in range(5)
        ]


async def test_deliveries_with_a_verdict_are_not_repeated_after_a_kill(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    users = await lay_crowd(redis_client, 20)
    apns.faults.add("silence:after=12")
    async with opened() as one:
        one.in_flight.start()
        ping_id = await one.append(*users, "nobody")
        (lease,) = await one.read(keys.PINGS)
        await one.planner.deliver([lease])
        await apns.received.wait(20)
        name = keys.progress(lease.stream, lease.entry)
        await until(lambda: _saved(redis_client, name, 12))
    apns.faults.clear()
    first = [record.token for record in apns.received if record.status == 200]
    apns.received.clear()
    async with opened() as back:
        await back.planner.deliver(await back.streams.resume(keys.PINGS))
        report = await back.done(ping_id)
        assert report["counts"] == {"accepted": 20, "rejected": 0, "later": 0}
        assert report["skipped"] == {"unknown_user": 1}
    assert sorted(first + tokens(apns)) == [pin(n) for n in range(20)]
    assert len(apns.received) == 8


async def _saved(redis: Redis, name: str, count: int) -> bool:
    value = await redis.hget(name, "verdicts")
    return value is not None and sum(map(int.bit_count, msgspec.msgpack.decode(value)[1])) == count


async def test_a_resumed_batch_reports_a_device_that_is_missing(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    # The one that synced first is sent to last: APNs takes one request until it has answered.
    phones = [apple(pin(n), last_sync=f"2026-11-24T10:00:{59 - n}+0000") for n in range(3)]
    await lay_user(redis_client, "bob", phones)
    apns.faults.add(f"silence:token={pin(2)}")
    async with opened() as one:
        one.in_flight.start()
        ping_id = await one.append("bob")
        (lease,) = await one.read(keys.PINGS)
        await one.planner.deliver([lease])
        await apns.received.wait(3)
        await until(lambda: _saved(redis_client, keys.progress(lease.stream, lease.entry), 2))
    for phone in (phones[0], phones[2]):
        await redis_client.delete(*phone.keys("bob"))
    async with opened() as back:
        await back.planner.deliver(await back.streams.resume(keys.PINGS))
        report = await back.done(ping_id)
    found = {one["client_id"]: (one["verdict"], one.get("reason")) for one in report["devices"]}
    assert found == {
        phones[0].client_id: ("accepted", None),
        phones[1].client_id: ("accepted", None),
        phones[2].client_id: ("rejected", "device_gone"),
    }
    assert report["counts"] == {"accepted": 2, "rejected": 1, "later": 0}


async def test_a_retry_does_not_reach_the_next_owner_of_a_device(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """Begun before a kill, and due again by the schedule."""
    phones = [apple(pin(n), last_sync=f"2026-11-24T10:00:{59 - n}+0000") for n in range(2)]
    await lay_user(redis_client, "bob", phones)
    apns.faults.add(f"silence:token={pin(1)}")
    async with opened() as one:
        one.in_flight.start()
        begun = await one.append("bob", message="for bob")
        (lease,) = await one.read(keys.PINGS)
        await one.planner.deliver([lease])
        await apns.received.wait(2)
        await until(lambda: _saved(redis_client, keys.progress(lease.stream, lease.entry), 1))
    before = len(apns.received)
    await Clients(redis_client).register("eve", phones[1].client_id, {"device_pin": pin(7)} | APPLE)
    async with opened() as back:
        await back.planner.deliver(await back.streams.resume(keys.PINGS))
        report = await back.done(begun)
        earlier = Ping("0" * 31 + "1", now_ms() - 60_000, message="for bob")
        later = Ping("0" * 31 + "2", now_ms() + 60_000, message="for eve")
        for ping in (earlier, later):
            chunk = Chunk(ping, clients=(phones[1].client_id,), attempt=1, first_ms=ping.accepted_ms)
            await redis_client.xadd(keys.RETRIES, {"e": encode(chunk), "n": 0, "s": 0})
        await back.planner.deliver(await back.read(keys.RETRIES))
        await until(lambda: len(apns.received) > before)
    found = {one["client_id"]: one.get("reason") for one in report["devices"]}
    assert found == {phones[0].client_id: None, phones[1].client_id: "device_gone"}
    assert [(one.token, one.summary.alert) for one in list(apns.received)[before:]] == [(pin(7), "for eve")]


async def test_each_reason_for_omitting_a_device_is_reported(opened: Open, redis_client: Redis) -> None:
    devices = [apple("no hex"), android("a-token"), apple(pin(1), device_app_id="other")]
    await lay_user(redis_client, "bob", devices)
    async with opened() as one:
        ping_id = await one.append("bob", "nobody", apns={"pad": "x" * 5000})
        await one.planner.deliver(await one.read(keys.PINGS))
        report = await one.done(ping_id)
    reasons = {device["client_id"]: device["reason"] for device in report["devices"]}
    assert reasons[devices[1].client_id] == "no_credential"
    assert reasons[devices[2].client_id] == "PayloadTooLarge"
    assert report["counts"]["rejected"] == 3
    assert report["skipped"] == {"unknown_user": 1}


async def test_a_ping_without_content_is_not_sent(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(pin(1))])
    async with opened() as one:
        ping_id = await one.append("bob", message=None)
        await one.planner.deliver(await one.read(keys.PINGS))
        report = await one.done(ping_id)
    assert report["skipped"] == {"nothing_to_send": 1}
    assert report["state"] == "done"
    assert apns.received.total == 0


async def test_a_device_of_two_users_is_reached_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    for user, n in (("bob", 1), ("eve", 2)):
        await lay_user(redis_client, user, [apple(pin(n), phone_id="phone")])
    async with opened() as one:
        ping_id = await one.append("bob", "eve")
        await one.planner.deliver(await one.read(keys.PINGS))
        report = await one.done(ping_id)
    assert tokens(apns) == [pin(1)]
    assert report["skipped"] == {"repeated": 1}


@pytest.mark.parametrize("stream", [keys.PINGS, keys.RETRIES, keys.CHUNKS])
@pytest.mark.parametrize("payload", [b"\xc1", b"\x93\x01\x02\x03", b""])
async def test_an_unreadable_entry_is_quarantined(
    opened: Open, redis_client: Redis, stream: str, payload: bytes
) -> None:
    async with opened() as one:
        await redis_client.xadd(stream, {"e": payload, "n": 0, "s": 0})
        await one.planner.deliver(await one.read(stream))
        await one.in_flight.wait_empty(30)
        ((_, record),) = await redis_client.xrange(keys.UNREADABLE)
        assert msgspec.msgpack.decode(record[b"fields"]) == [b"e", payload, b"n", b"0", b"s", b"0"]
        assert record[b"stream"] == stream.encode()
        assert record[b"reason"]
        assert await redis_client.xlen(stream) == 0


async def test_entries_whose_look_up_failed_are_returned(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(pin(1))])
    await redis_client.execute_command(
        "ACL", "SETUSER", "default", "-sort", "-sscan"
    )  # as good as any error of the whole server
    async with opened() as one:
        ping_id = await one.append("bob", "eve")
        leases = await one.read(keys.PINGS)
        try:
            undone: list[Lease] = await one.planner.deliver(leases)
        finally:
            await redis_client.execute_command("ACL", "SETUSER", "default", "+sort", "+sscan")
        assert undone == leases
        assert apns.received.total == 0
        assert await one.planner.deliver(undone) == []
        assert (await one.done(ping_id))["counts"]["accepted"] == 1


async def test_a_user_with_a_key_of_another_type_has_no_devices_and_affects_no_other(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(pin(1))])
    await redis_client.set("user:eve:clients", "not a set")
    async with opened() as one:
        ping_id = await one.append("eve", "bob")
        assert await one.planner.deliver(await one.read(keys.PINGS)) == []
        report = await one.done(ping_id)
    assert (report["counts"]["accepted"], report["skipped"]) == (1, {"unknown_user": 1})


@pytest.mark.parametrize("others", [0, keys.BROADCAST_USERS])
async def test_a_ping_with_a_limit_reaches_only_devices_of_its_apps(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, others: int
) -> None:
    """Also a broadcast's chunk. The receipt has the limit, by which its readers are chosen."""
    users = {f"user{n}": [apple(pin(n + 10), device_app_id="b")] for n in range(others)}
    users["bob"] = [apple(pin(n), device_app_id=app) for n, app in enumerate("abca")]
    await lay_users(redis_client, users)
    async with opened() as one:
        one.consumer.start()
        ping_id = await one.append(*users, apps=("a", "c"))
        await until(lambda: _over(one, ping_id))
        report = await one.report(ping_id)
        await one.consumer.close()
    assert tokens(apns) == [pin(0), pin(2), pin(3)]
    assert report["skipped"] == {"app_not_allowed": 1 + others}
    assert report["apps"] == ["a", "c"]
    assert len(report["devices"]) in (0, 3)  # the chunk of a broadcast lists no accepted devices


async def _over(one: WorkerCore, ping_id: str) -> bool:
    found = await one.receipts.report(ping_id)
    return found is not None and found["state"] == "done"


async def test_a_retry_does_not_reach_a_device_that_moved_to_another_app(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    phone = apple(pin(1), device_app_id="b")
    await lay_user(redis_client, "bob", [phone])
    batch = "0" * 28
    chunk = Chunk(
        Ping(id=batch + "0000", accepted_ms=now_ms(), message="x", apps=("a",)), -1, (phone.client_id,), 1
    )
    await redis_client.hset(keys.receipt(batch), "0:open", 1)
    await redis_client.xadd(keys.RETRIES, {"e": encode(chunk), "n": 0, "s": 0})
    async with opened() as one:
        one.consumer.start()
        await until(lambda: _over(one, batch + "0000"))
        report = await one.report(batch + "0000")
        await one.consumer.close()
    assert [(row["verdict"], row["reason"]) for row in report["devices"]] == [("rejected", "app_not_allowed")]
    assert tokens(apns) == []
