"""Planning and splitting of cancelled pings: counted, and not looked up."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.lane import BUSY
from gateway.fanout import splitting
from gateway.fanout.broadcast_targets import CHUNK_MISSING
from gateway.metrics import Metrics
from gateway.queue.entries import Chunk, encode
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.gateway.fanout.test_broadcast import USERS, begin, deliver_pieces, lay_crowd, names, pin
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import WorkerCore, pipeline, until

Open = Callable[[], AbstractAsyncContextManager[WorkerCore]]
NONE = {"accepted": 0, "rejected": 0, "later": 0}


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    return lambda: pipeline(redis_address, tmp_path, settings)


async def test_one_of_two_pings_of_an_entry_is_not_looked_up(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(pin(1))])
    async with opened() as one:
        ids = await asyncio.gather(one.append("bob", "ann", message="no"), one.append("bob", message="yes"))
        assert ids[0][:28] == ids[1][:28]
        one.cancel(ids[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        report = await one.done(ids[0])
        assert (report["state"], report["counts"], report["skipped"]) == ("cancelled", NONE, {"cancelled": 2})
        assert (await one.report(ids[1]))["counts"]["accepted"] == 1
    assert [record.summary.alert for record in apns.received] == ["yes"]


async def test_a_resumed_batch_omits_the_same_pings(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lay_user(redis_client, "bob", [apple(pin(1))])
    async with opened() as one:
        ids = await asyncio.gather(one.append("ann", message="no"), one.append("bob", message="yes"))
        one.cancel(ids[0])
        monkeypatch.setattr(one.in_flight, "settle", lambda _: None)
        leases = await one.read(keys.PINGS)
        await one.planner.deliver(leases)
        await until(lambda: len(apns.received))
        await one.in_flight._save_unsaved()
    async with opened() as one:
        one.cancel(ids[0])
        await one.planner.deliver(await one.streams.resume(keys.PINGS))
        assert (await one.done(ids[0]))["skipped"] == {"cancelled": 1}


@pytest.mark.parametrize("steps", [0, 1])
async def test_a_broadcast_is_not_split_further_and_every_user_is_counted(
    opened: Open,
    redis_client: Redis,
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    monkeypatch.setattr("gateway.fanout.broadcast.STEP_CHUNKS", 1)
    monkeypatch.setattr("gateway.fanout.broadcast.AHEAD_CHUNKS", 0)
    await lay_crowd(redis_client, lambda n: apple(pin(n)))
    async with opened() as one:
        ping_id = await one.append(*names())
        lease = await begin(one)
        if steps:
            splitting_task = asyncio.create_task(one.splitter.split(lease))
            await until(lambda: redis_client.xlen(keys.CHUNKS))
            one.cancel(ping_id)
            await deliver_pieces(one)
            await splitting_task
        else:
            one.cancel(ping_id)
            await one.splitter.split(lease)
        report = await one.done(ping_id)
        assert await redis_client.xlen(keys.CHUNKS) == 0
    assert (report["state"], report["counts"], report["skipped"]) == ("cancelled", NONE, {"cancelled": USERS})
    assert not apns.received
    assert await redis_client.exists(keys.broadcast_users(ping_id), keys.broadcast_devices(ping_id)) == 0


async def test_a_missing_chunk_of_a_cancelled_broadcast_is_reported(
    opened: Open, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.fanout.broadcast.STEP_CHUNKS", 1)
    monkeypatch.setattr("gateway.fanout.broadcast.AHEAD_CHUNKS", 0)
    async with opened() as one:
        ping_id = await one.append(*names())
        splitting_task = asyncio.create_task(one.splitter.split(await begin(one)))
        await until(lambda: redis_client.xlen(keys.CHUNKS))
        one.cancel(ping_id)
        await redis_client.hdel(keys.broadcast_users(ping_id), "0")
        await deliver_pieces(one)
        await splitting_task
        skipped = (await one.done(ping_id))["skipped"]
    assert skipped == {"cancelled": USERS - keys.CHUNK_USERS, CHUNK_MISSING: 1}


async def test_a_kill_while_the_rest_is_left_out_counts_it_once(
    opened: Open, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as one:
        ping_id = await one.append(*names())
        lease = await begin(one)
        one.cancel(ping_id)
        monkeypatch.setattr(one.in_flight, "settle", lambda _: None)
        await one.splitter.split(lease)
        assert await redis_client.hkeys(keys.broadcast_users(ping_id)) == [b"2"]
    async with opened() as one:
        one.cancel(ping_id)
        (lease,) = one.in_flight.claim(await one.streams.resume(keys.BROADCASTS))
        await one.splitter.split(lease)
        assert (await one.done(ping_id))["skipped"] == {"cancelled": USERS}


async def test_a_large_ping_is_not_split_further(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "CHUNK_CLIENTS", 50)
    monkeypatch.setattr(splitting, "STEP_CHUNKS", 2)
    monkeypatch.setattr(splitting, "AHEAD_CHUNKS", 0)
    devices = splitting.PING_DEVICES + 100
    await lay_user(redis_client, "hub", [apple(pin(n), client_id=f"{n:032x}") for n in range(devices)])
    async with opened() as one:
        ping_id = await one.append("hub")
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: redis_client.xlen(keys.CHUNKS))
        one.cancel(ping_id)
        while (await one.report(ping_id))["state"] != "cancelled":
            await one.planner.deliver(await one.read(keys.CHUNKS))
            await asyncio.sleep(0.01)
        report = await one.done(ping_id)
    assert (report["counts"], report["skipped"]) == (NONE, {"cancelled": devices})
    assert not apns.received


async def test_a_retry_of_a_gone_device_ends_without_a_look_up(opened: Open, redis_client: Redis) -> None:
    async with opened() as one:
        ping_id = await one.append("nobody")
        assert await one.planner.deliver(await one.read(keys.PINGS)) == []
        await one.done(ping_id)
        one.cancel(ping_id)
        chunk = Chunk(Ping(id=ping_id), -1, ("gone",), 1)
        await redis_client.xadd(keys.RETRIES, {"e": encode(chunk), "n": 0, "s": 0})
        await one.planner.deliver(await one.read(keys.RETRIES))
        report = await one.done(ping_id)
    assert report["devices"] == [{"client_id": "gone", "provider": "", "verdict": "cancelled"}]


@pytest.mark.parametrize("known_when", ["it waits", "it is offered", "it is put back"])
async def test_a_lane_ends_the_deliveries_of_a_cancelled_ping(
    opened: Open, redis_client: Redis, settings: dict[str, Any], unused_tcp_port: int, known_when: str
) -> None:
    """The planner does not know of the cancellation yet, and the lane cannot send."""
    settings["apns"]["port"] = unused_tcp_port
    await lay_user(redis_client, "bob", [apple(pin(1))])
    async with opened() as one:
        one.planner._cancelled = CancelledPings(Metrics())
        ids = [await one.append("bob", message=f"ping {number}") for number in range(2)]
        if known_when == "it is offered":
            one.cancel(ids[0])
        await one.planner.deliver(await one.read(keys.PINGS))
        (lane,) = one.lanes.all()
        if known_when == "it waits":
            one.cancel(ids[0])
        elif known_when == "it is put back":
            waiting = lane._backlog.small.popleft()
            one.cancel(ids[0])
            lane._requeue(waiting)
        assert lane.backlog == 1
        await until(lambda: _is(one, ids[0], "cancelled"))
        assert (await one.report(ids[0]))["skipped"] == {"cancelled": 1}
        assert (await one.report(ids[1]))["state"] == "queued"


async def _is(one: WorkerCore, ping_id: str, state: str) -> bool:
    return bool((await one.report(ping_id))["state"] == state)


async def test_retries_that_are_decided_before_the_batch_is_settled_are_not_scheduled(
    opened: Open, redis_client: Redis, settings: dict[str, Any], unused_tcp_port: int
) -> None:
    settings["apns"]["port"] = unused_tcp_port
    await lay_user(redis_client, "bob", [apple(pin(n)) for n in range(2)])
    async with opened() as one:
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        (lane,) = one.lanes.all()
        lane._park_above(1, BUSY)
        one.cancel(ping_id)
        report = await one.done(ping_id)
        assert (report["counts"], report["skipped"]) == (NONE, {"cancelled": 2})
        assert await redis_client.zcard(keys.SCHEDULE) == 0
