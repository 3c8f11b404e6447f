"""Broadcasts are split into chunks and reach each device once, also after kills."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import UnreadableEntry
from gateway.queue.entries import Lease, decode_chunk
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from tests.support.rhoconnect import Client, apple, lay_users
from tests.support.schedule import make_all_due
from tests.support.worker_core import WorkerCore, pipeline, until

Open = Callable[[], AbstractAsyncContextManager[WorkerCore]]
USERS = 2 * keys.CHUNK_USERS + 100


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    return lambda: pipeline(redis_address, tmp_path, settings)


def pin(number: int) -> str:
    return f"{number:064x}"


def names(count: int = USERS) -> list[str]:
    return [f"user{n}" for n in range(count)]


async def lay_crowd(redis: Redis, phone: Callable[[int], Client]) -> None:
    await lay_users(redis, {f"user{n}": [phone(n)] for n in range(USERS)})


async def begin(one: WorkerCore) -> Lease:
    (lease,) = one.in_flight.claim(await one.read(keys.BROADCASTS))
    return lease


async def deliver_pieces(one: WorkerCore) -> None:
    while leases := await one.read(keys.CHUNKS, 2):
        await one.planner.deliver(leases)
    assert await one.in_flight.wait_empty(30)


async def test_every_device_is_reached_and_every_chunk_is_small(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        ping_id = await one.append(*names(), "nobody", "nobody else")
        lease = await begin(one)
        await one.splitter.split(lease)
        chunks = [decode_chunk(fields[b"e"]) for _, fields in await redis_client.xrange(keys.CHUNKS)]
        assert [chunk.chunk_index for chunk in chunks] == [0, 1, 2]
        assert all(chunk.ping.users == () for chunk in chunks)
        await deliver_pieces(one)
        report = await one.report(ping_id)
    assert (report["state"], report["counts"]["accepted"]) == ("done", USERS)
    assert report["skipped"] == {"unknown_user": 2}
    assert sorted(record.token for record in apns.received) == [pin(n) for n in range(USERS)]
    for name in (keys.broadcast_users(ping_id), keys.broadcast_devices(ping_id)):
        assert await redis_client.exists(name) == 0


async def test_a_device_of_many_users_is_reached_once_over_all_chunks(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n), phone_id=f"phone{n % 7}"))
    async with opened() as one:
        ping_id = await one.append(*names())
        await one.splitter.split(await begin(one))
        await deliver_pieces(one)
        report = await one.report(ping_id)
    assert len(apns.received) == 7
    assert report["counts"]["accepted"] == 7
    assert report["skipped"] == {"repeated": USERS - 7}


async def test_splitting_resumes_at_its_cursor_after_a_kill(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n), phone_id=f"phone{n // 2}"))
    monkeypatch.setattr("gateway.fanout.broadcast.AHEAD_CHUNKS", 0)
    monkeypatch.setattr("gateway.fanout.broadcast.STEP_CHUNKS", 2)
    async with opened() as one:
        ping_id = await one.append(*names())
        lease = await begin(one)
        one.broadcast_tasks.begin(lease)
        await until(lambda: redis_client.xlen(keys.CHUNKS))
        await one.broadcast_tasks.close()
    monkeypatch.setattr("gateway.fanout.broadcast.AHEAD_CHUNKS", 40)
    async with opened() as back:
        (again,) = await back.streams.resume(keys.BROADCASTS)
        assert await redis_client.hget(keys.progress(again.stream, again.entry), "cursor") == b"2"
        await back.splitter.split(again)
        await deliver_pieces(back)
        report = await back.report(ping_id)
    assert (report["state"], report["counts"]["accepted"]) == ("done", USERS // 2)
    assert len({record.token for record in apns.received}) == len(apns.received) == USERS // 2


async def test_a_cursor_beyond_the_last_chunk_settles_nothing(opened: Open, redis_client: Redis) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        await one.append(*names())
        lease = await begin(one)
        await redis_client.hset(keys.progress(lease.stream, lease.entry), "cursor", 99)
        with pytest.raises(UnreadableEntry, match="the stored cursor 99 exceeds 3 chunks"):
            await one.splitter.split(lease)
        assert not await redis_client.xlen(keys.CHUNKS)


async def test_two_workers_split_one_broadcast_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        ping_id = await one.append(*names())
        lease = await begin(one)
        await one.splitter.split(lease)
        await one.splitter.split(lease)
        await deliver_pieces(one)
        report = await one.report(ping_id)
    assert report["counts"]["accepted"] == len(apns.received) == USERS
    assert report["state"] == "done"


async def test_a_chunk_after_a_kill_repeats_only_deliveries_without_a_verdict(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    apns.faults.add("silence:after=300")
    async with opened() as one:
        one.in_flight.start()
        ping_id = await one.append(*names(400))
        await one.splitter.split(await begin(one))
        await one.planner.deliver(await one.read(keys.CHUNKS))
        await apns.received.wait(400)
        await until(lambda: one.in_flight.deliveries(bulk=True) == 100)
        await one.in_flight.close()
    apns.faults.clear()
    async with opened() as back:
        await back.planner.deliver(await back.streams.resume(keys.CHUNKS))
        assert await back.in_flight.wait_empty(30)
        report = await back.report(ping_id)
    assert (report["state"], report["counts"]["accepted"]) == ("done", 400)
    assert len(apns.received) == 500
    assert len({record.token for record in apns.received.accepted}) == 400
    assert len(apns.received.accepted) == 400


async def test_a_report_lists_no_reached_device_as_later(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """However many a retry reaches at once."""
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    apns.faults.add("503=1:next=400")
    async with opened() as one:
        ping_id = await one.append(*names())
        await one.splitter.split(await begin(one))
        await deliver_pieces(one)
        report = await one.report(ping_id)
        assert (report["state"], report["counts"]["later"]) == ("open", 400)
        await make_all_due(redis_client)
        await one.streams.release_due(100)
        await one.planner.deliver(await one.read(keys.RETRIES))
        assert await one.in_flight.wait_empty(30)
        report = await one.report(ping_id)
    assert (report["state"], report["counts"]) == ("done", {"accepted": USERS, "rejected": 0, "later": 0})


async def test_a_chunk_that_is_taken_over_reaches_the_same_devices(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """Killed between its choice and its first saved verdict: the phones are this piece's, and no other's."""
    await lay_crowd(redis_client, lambda n: apple(pin(n), phone_id=f"phone{n % 450}"))
    async with opened() as one:
        ping_id = await one.append(*names())
        await one.splitter.split(await begin(one))
        (first,) = await one.read(keys.CHUNKS, 1)
        chosen, _ = await one.targets.of(ping_id, decode_chunk(first.payload).chunk_index)
        assert len(chosen) == keys.CHUNK_USERS
    async with opened() as back:
        await deliver_pieces(back)
        assert len(apns.received) == 50
        await back.planner.deliver(await back.streams.resume(keys.CHUNKS))
        assert await back.in_flight.wait_empty(30)
        report = await back.report(ping_id)
    assert (report["state"], report["counts"]["accepted"]) == ("done", 450)
    assert len({record.token for record in apns.received}) == len(apns.received) == 450


async def test_users_that_redis_lost_are_reported(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        ping_id = await one.append(*names())
        await one.splitter.split(await begin(one))
        await redis_client.hdel(keys.broadcast_users(ping_id), "1")
        await deliver_pieces(one)
        report = await one.report(ping_id)
    assert report["skipped"] == {"lost_part": 1}
    assert (report["state"], report["counts"]["accepted"]) == ("done", USERS - keys.CHUNK_USERS)


async def test_an_unreadable_chunk_is_quarantined(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        ping_id = await one.append(*names())
        await one.splitter.split(await begin(one))
        await redis_client.hset(keys.broadcast_users(ping_id), "1", b"\xc1")
        await deliver_pieces(one)
        assert not one.in_flight._claims
    assert await redis_client.xlen(keys.UNREADABLE) == 1
    assert len(apns.received) == USERS - keys.CHUNK_USERS


async def test_the_number_of_broadcasts_split_together_is_limited(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.fanout.broadcast.SPLITTING_MAX", 2)
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    most = 0
    async with opened() as one:
        split = one.splitter.split

        async def counted(lease: Lease) -> None:
            nonlocal most
            most = max(most, len(one.broadcast_tasks._tasks))
            await split(lease)

        monkeypatch.setattr(one.splitter, "split", counted)
        ping_ids = [await one.append(*names()) for _ in range(6)]
        one.consumer.start()
        for ping_id in ping_ids:
            await until(lambda ping_id=ping_id: _is_done(one, ping_id))
        await one.consumer.close()
    assert most == 2


async def test_broadcasts_that_are_taken_over_do_not_delay_chunks(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A broadcast that is split waits for the chunks on the stream; a killed worker held some of them."""
    monkeypatch.setattr("gateway.queue.consumer.LEASE_S", 0.3)
    monkeypatch.setattr("gateway.fanout.consumer.LEASE_S", 0.3)
    monkeypatch.setattr("gateway.fanout.in_flight.RENEW_S", 0.05)
    for name, most in (("SPLITTING_MAX", 1), ("AHEAD_CHUNKS", 0), ("STEP_CHUNKS", 1)):
        monkeypatch.setattr(f"gateway.fanout.broadcast.{name}", most)
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with pipeline(redis_address, tmp_path, settings, name="gone:0") as gone:
        held = await gone.append(*names())
        gone.broadcast_tasks.begin(await begin(gone))
        await until(lambda: gone.read(keys.CHUNKS))
        await gone.broadcast_tasks.close()
    async with pipeline(redis_address, tmp_path, settings, name="successor:0") as successor:
        own = await successor.append(*names())
        successor.in_flight.start()
        successor.consumer.start()
        for ping_id in (held, own):
            await until(lambda ping_id=ping_id: _is_done(successor, ping_id))
        await successor.consumer.close()
        await successor.in_flight.close()
        reports = [await successor.report(ping_id) for ping_id in (held, own)]
    assert [report["counts"]["accepted"] for report in reports] == [USERS, USERS]


async def _is_done(one: WorkerCore, ping_id: str) -> bool:
    report = await one.receipts.report(ping_id)
    return report is not None and report["state"] == "done"


async def test_planned_deliveries_are_sent_although_the_planning_is_cancelled(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends waits for its units, also for one that leaves in slices beside a small ping."""
    monkeypatch.setattr("gateway.scheduling.scheduler.URGENT_S", 60.0)
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        await one.append(*names(keys.CHUNK_USERS))
        await one.splitter.split(await begin(one))
        one.in_flight.scheduler.small_started()
        planning = asyncio.ensure_future(one.planner.deliver(await one.read(keys.CHUNKS)))
        await until(lambda: one.in_flight.deliveries(bulk=True))
        assert not planning.done()
        planning.cancel()
        assert await one.in_flight.wait_empty(30)
    assert len(apns.received) == keys.CHUNK_USERS
