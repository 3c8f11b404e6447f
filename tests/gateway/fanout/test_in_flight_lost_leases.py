"""A worker that was silent for longer than a lease: what it did not send is another's now. And Redis away."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.clock import SharedClock
from gateway.delivery.circuit_breaker import CLOSED_BREAKER
from gateway.queue.entries import Lease
from gateway.simulators import ApnsOptions, ApnsSimulator
from gateway.store import keys
from gateway.store.connection import ConnectionLost
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import WorkerCore, pipeline, until


@pytest.fixture
async def apns() -> AsyncIterator[ApnsSimulator]:
    """Takes one request at a time."""
    async with ApnsSimulator(ApnsOptions(streams=1)) as simulator:
        yield simulator


def _pin(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.parametrize("notices", ["renewing", "saving"])
async def test_deliveries_that_were_taken_over_are_sent_by_the_new_owner_alone(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    notices: str,
) -> None:
    monkeypatch.setattr("gateway.queue.consumer.LEASE_S", 0.0)
    monkeypatch.setattr("gateway.fanout.in_flight.RENEW_S", 0.01 if notices == "renewing" else 60)
    settings["apns"]["connections_max"] = 1
    await lay_user(redis_client, "bob", [apple(_pin(n)) for n in range(5)])
    async with (
        pipeline(redis_address, tmp_path, settings, name="one:0") as one,
        pipeline(redis_address, tmp_path, settings, name="two:0") as two,
    ):
        apns.hold()
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        await apns.received.wait(1)  # four wait in memory
        (lane,) = one.lanes.all()
        assert lane.backlog == 4
        leases, _ = await two.streams.take_over(keys.PINGS, "0-0", 10)
        (batch,) = one.in_flight._batches.values()
        batch.unsaved = True
        one.in_flight.start()
        await until(lambda: batch.lease_lost)
        apns.release()
        await two.planner.deliver(leases)
        report = await two.done(ping_id)
        await until(lambda: lane.in_flight == 0)
        assert lane.backlog == 0
        await one.in_flight.close()
    assert report["counts"]["accepted"] == 5
    # The one that was under way when the lease was lost comes twice; the four that waited do not.
    assert sorted(Counter(record.token for record in apns.received).values()) == [1, 1, 1, 1, 2]


async def test_one_settlement_probes_redis_while_it_is_unavailable(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.in_flight._RETRY_S", 0.01)
    await lay_user(redis_client, "bob", [apple(_pin(1))])
    async with pipeline(redis_address, tmp_path, settings) as one:
        settle, tried, away = one.streams.settle, 0, True

        def counted(done: Any, now_ms: int, told: Any) -> None:
            nonlocal tried
            tried += 1
            if away:
                told(ConnectionLost("away", sent=False))
            else:
                settle(done, now_ms, told)

        monkeypatch.setattr(one.streams, "settle", counted)
        ids = [await one.append("bob", message=str(n)) for n in range(50)]
        await one.planner.deliver(await one.read(keys.PINGS))
        await apns.received.wait(50)
        await until(lambda: tried >= 60)
        assert tried < 100
        away = False
        for ping_id in ids:
            assert (await one.done(ping_id))["counts"]["accepted"] == 1
    assert len(apns.received) == 50


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(("notices", "planned"), [("renewing", True), ("renewing", False), ("saving", True)])
async def test_a_suspended_worker_does_not_send_entries_that_were_taken_over(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    settled: bool,
    notices: str,
    planned: bool,
) -> None:
    monkeypatch.setattr("gateway.queue.consumer.LEASE_S", 0.0)
    monkeypatch.setattr("gateway.fanout.in_flight.RENEW_S", 0.01 if notices == "renewing" else 60)
    await lay_user(redis_client, "bob", [apple(_pin(n)) for n in range(5)])
    async with (
        pipeline(redis_address, tmp_path, settings, name="one:0") as one,
        pipeline(redis_address, tmp_path, settings, name="two:0") as two,
    ):
        ping_id = await one.append("bob")
        mine = await one.read(keys.PINGS)
        lane = one.lanes.route("apns", "").lane
        thawed = asyncio.Event()  # stands for the freeze, as an open breaker does
        delivering = asyncio.create_task(_deliver_after(one, mine, thawed, monkeypatch))
        await asyncio.sleep(0)
        if planned:
            lane._breaker = CLOSED_BREAKER.after_refusal("refused", float("inf"))
            thawed.set()
            await delivering
            (batch,) = one.in_flight._batches.values()
            batch.unsaved = True
        theirs, _ = await two.streams.take_over(keys.PINGS, "0-0", 10)
        await two.planner.deliver(theirs)
        if settled:
            await two.done(ping_id)
        one.in_flight.start()
        await until(lambda: not one.in_flight._batches and not one.in_flight._claims)
        lane._breaker = CLOSED_BREAKER
        lane.wake()
        thawed.set()
        await delivering
        assert (await two.done(ping_id))["counts"]["accepted"] == 5
        await one.in_flight.close()
    assert max(Counter(record.token for record in apns.received).values()) == 1


async def _deliver_after(
    one: WorkerCore, leases: list[Lease], event: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliver as a worker does that must wait for room."""

    async def room(**_: Any) -> None:
        await event.wait()

    monkeypatch.setattr(one.in_flight, "wait_for_room", room)
    await one.consumer._deliver(leases)


async def test_a_lease_that_is_lost_while_its_users_are_looked_up_is_not_delivered(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_user(redis_client, "bob", [apple(_pin(1))])
    async with pipeline(redis_address, tmp_path, settings) as one:
        await one.append("bob")
        (lease,) = await one.read(keys.PINGS)
        look_up = one.registry.devices_of

        async def losing(users: Any) -> Any:
            one.in_flight._on_lease_lost(lease.stream, lease.entry)
            return await look_up(users)

        monkeypatch.setattr(one.registry, "devices_of", losing)
        await one.planner.deliver([lease])
        assert not one.in_flight._batches
        assert one.lanes.route("apns", "").lane.in_flight == 0
    assert len(apns.received) == 0


@pytest.mark.parametrize("jump_s", [3_600, 86_400])
async def test_nothing_is_taken_over_after_redis_clock_was_set(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    jump_s: int,
) -> None:
    """Every lease looks old then, whoever holds it, until it is renewed."""
    monkeypatch.setattr("gateway.fanout.consumer.LEASE_S", 0.2)
    async with pipeline(redis_address, tmp_path, settings, name="two:0") as two:
        entry = await redis_client.xadd(keys.PINGS, {"e": b"", "n": 1, "s": 1})
        await redis_client.xreadgroup(keys.GROUP, "one:0", {keys.PINGS: ">"})
        await redis_client.xclaim(
            keys.PINGS, keys.GROUP, "one:0", 0, [entry], idle=jump_s * 1000, justid=True
        )
        clock = SharedClock(wall=lambda: time.time_ns() - jump_s * 1_000_000_000)
        clock.record_reading(clock.steady_ms(), clock.now_ms())
        two.streams._clock = clock
        await two.consumer._take_over()
        (pending,) = await redis_client.xpending_range(keys.PINGS, keys.GROUP, "-", "+", 10)
        assert (pending["consumer"], pending["message_id"]) == (b"one:0", entry)
