"""Broadcasts to all users reach each user once, also if users change or the scan is interrupted."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import UnreadableEntry
from gateway.fanout import everybody
from gateway.queue.entries import Lease
from gateway.queue.everybody import ScanCursor
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.addressees import Addressees
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import WorkerCore, pipeline, until

Open = Callable[[], AbstractAsyncContextManager[WorkerCore]]
USERS = 2500
ALL = Addressees(all_users=True)


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    return lambda: pipeline(redis_address, tmp_path, settings)


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some steps for few users, each of which waits until the chunks before it are delivered."""
    monkeypatch.setattr(everybody, "STEP_USERS", 800)
    monkeypatch.setattr(everybody, "AHEAD_CHUNKS", 0)


def pin(number: int) -> str:
    return f"{number:064x}"


async def lay(redis: Redis, first: int = 0, last: int = USERS) -> None:
    await lay_users(
        redis, {f"user{n}": [apple(pin(n), device_app_id=f"app{n % 2}")] for n in range(first, last)}
    )


async def begin(one: WorkerCore) -> Lease:
    (lease,) = one.in_flight.claim(await one.read(keys.BROADCASTS))
    return lease


async def deliver_chunks(one: WorkerCore) -> None:
    while leases := await one.read(keys.CHUNKS, 2):
        await one.planner.deliver(leases)
    assert await one.in_flight.wait_empty(30)


async def split(one: WorkerCore, lease: Lease) -> None:
    """Split and deliver, side by side."""
    splitting = asyncio.create_task(one.splitter.split(lease))
    while not splitting.done():
        for chunk in await one.read(keys.CHUNKS, 2):
            await one.planner.deliver([chunk])
        await asyncio.sleep(0.002)
    await splitting
    await deliver_chunks(one)


def tokens(apns: ApnsSimulator) -> list[str]:
    return sorted(record.token for record in apns.received)


@pytest.mark.usefixtures("in_steps")
async def test_everybody_is_reached_once_and_no_complete_list_is_stored(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay(redis_client)
    async with opened() as one:
        ping_id = await one.append(to=ALL)
        assert (await one.report(ping_id))["state"] == "queued"
        assert await redis_client.hlen(keys.broadcast_users(ping_id)) == 1
        lease = await begin(one)
        longest = 0
        splitting = asyncio.create_task(one.splitter.split(lease))
        while not splitting.done():
            for chunk in await one.read(keys.CHUNKS, 2):
                longest = max(longest, await redis_client.hlen(keys.broadcast_users(ping_id)))
                await one.planner.deliver([chunk])
            await asyncio.sleep(0.002)
        await splitting
        await deliver_chunks(one)
        report = await one.report(ping_id)
    assert tokens(apns) == [pin(n) for n in range(USERS)]
    assert (report["state"], report["counts"]["accepted"], report["skipped"]) == ("done", USERS, {})
    assert longest <= 6
    for name in (keys.broadcast_users(ping_id), keys.broadcast_devices(ping_id)):
        assert await redis_client.exists(name) == 0


@pytest.mark.usefixtures("in_steps")
@pytest.mark.parametrize("same_process", [True, False])
async def test_an_interrupted_scan_resumes_or_restarts_and_repeats_no_user(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, same_process: bool
) -> None:
    await lay(redis_client)
    async with opened() as one:
        ping_id = await one.append(to=ALL)
        lease = await begin(one)
        splitting = asyncio.create_task(one.splitter.split(lease))
        await until(lambda: redis_client.xlen(keys.CHUNKS))
        splitting.cancel()
        await asyncio.gather(splitting, return_exceptions=True)
        await deliver_chunks_of_a_split(one, redis_client)
        name = keys.progress(lease.stream, lease.entry)
        stored = await redis_client.hget(name, "cursor")
        assert stored is not None
        cursor = ScanCursor.parse(stored.decode())
        first = len(apns.received)
        assert 0 < first < USERS
        assert cursor.position
        # Every chunk so far is settled, and the devices that they reached are still recorded.
        assert await redis_client.hlen(keys.broadcast_devices(ping_id)) == first
        if not same_process:
            await redis_client.hset(name, "cursor", str(cursor._replace(run_id="f" * 40)))
        await split(one, lease)
        report = await one.report(ping_id)
    assert tokens(apns) == [pin(n) for n in range(USERS)]
    assert (report["state"], report["counts"]["accepted"]) == ("done", USERS)
    assert report["skipped"].get("repeated", 0) == (0 if same_process else first)


async def deliver_chunks_of_a_split(one: WorkerCore, redis: Redis) -> None:
    while leases := await one.read(keys.CHUNKS, 2):
        await one.planner.deliver(leases)

    async def settled() -> bool:
        return await redis.xlen(keys.CHUNKS) == 0

    await until(settled)


@pytest.mark.usefixtures("in_steps")
async def test_users_may_be_added_and_removed_during_the_scan(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay(redis_client)
    async with opened() as one:
        ping_id = await one.append(to=ALL)
        lease = await begin(one)
        splitting = asyncio.create_task(one.splitter.split(lease))
        await until(lambda: redis_client.xlen(keys.CHUNKS))
        await lay(redis_client, USERS, USERS + 500)
        await redis_client.srem(keys.APP_USERS, *(f"user{n}" for n in range(100)))
        while not splitting.done():
            for chunk in await one.read(keys.CHUNKS, 2):
                await one.planner.deliver([chunk])
            await asyncio.sleep(0.002)
        await splitting
        await deliver_chunks(one)
        report = await one.report(ping_id)
    found = tokens(apns)
    assert len(set(found)) == len(found)
    assert set(found) >= {pin(n) for n in range(100, USERS)}
    assert report["state"] == "done"


async def test_everybody_is_narrowed(opened: Open, redis_client: Redis, apns: ApnsSimulator) -> None:
    await lay(redis_client, 0, 10)
    async with opened() as one:
        to = Addressees(all_users=True, apps=("app1",), except_users=("user1", "user2"))
        ping_id = await one.append(to=to, badge=1, badge_increment=1)
        await split(one, await begin(one))
        report = await one.report(ping_id)
    assert tokens(apns) == [pin(n) for n in (3, 5, 7, 9)]
    assert report["skipped"] == {"app_excluded": 4, "user_excluded": 2}
    assert {record.payload["aps"]["badge"] for record in apns.received} == {1}


async def test_a_token_that_is_limited_to_an_app_reaches_no_other_app(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay(redis_client, 0, 10)
    async with opened() as one:
        ping_id = await one.append(to=ALL, apps=("app1",))
        await split(one, await begin(one))
        report = await one.report(ping_id)
    assert tokens(apns) == [pin(n) for n in (1, 3, 5, 7, 9)]
    assert report["skipped"] == {"app_not_allowed": 5}


async def test_no_user_at_all_is_an_empty_audience(opened: Open, apns: ApnsSimulator) -> None:
    async with opened() as one:
        ping_id = await one.append(to=ALL)
        await one.splitter.split(await begin(one))
        report = await one.done(ping_id)
    assert (report["state"], report["skipped"]) == ("done", {"empty_audience": 1})
    assert len(apns.received) == 0


async def test_another_worker_has_the_broadcast(opened: Open, redis_client: Redis) -> None:
    await lay(redis_client, 0, 10)
    async with opened() as one:
        await one.append(to=ALL)
        lease = await begin(one)
        await redis_client.xdel(keys.BROADCASTS, lease.entry)
        await one.splitter.split(lease)
        assert not one.in_flight.holds(lease)
        assert await redis_client.xlen(keys.CHUNKS) == 0


@pytest.mark.usefixtures("in_steps")
@pytest.mark.parametrize("begun", [False, True])
async def test_a_cancelled_broadcast_counts_the_users_whom_it_does_not_reach(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, begun: bool
) -> None:
    await lay(redis_client)
    async with opened() as one, asyncio.timeout(60):
        ping_id = await one.append(to=ALL)
        lease = await begin(one)
        splitting = asyncio.create_task(one.splitter.split(lease)) if begun else None
        if splitting is not None:
            await until(lambda: redis_client.xlen(keys.CHUNKS))
        one.cancel(ping_id)
        await deliver_chunks(one)
        await (one.splitter.split(lease) if splitting is None else splitting)
        report = await one.done(ping_id)
    assert (report["state"], report["skipped"]) == ("cancelled", {"cancelled": USERS})
    assert not apns.received
    assert int(await redis_client.hget(keys.receipt(ping_id[:28]), "0:open") or b"") == 0


async def test_as_many_chunks_as_a_broadcast_may_have(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay(redis_client, 0, 10)
    async with opened() as one:
        for most in (1, 0):
            monkeypatch.setattr(everybody, "CHUNKS_MAX", most)
            await one.append(to=ALL)
            lease = await begin(one)
            if most:
                await split(one, lease)
            else:
                with pytest.raises(UnreadableEntry):
                    await one.splitter.split(lease)
                one.in_flight.release(lease)
    assert tokens(apns) == [pin(n) for n in range(10)]
