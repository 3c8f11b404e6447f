"""A worker keeps its entries until they are settled, also while it waits."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.fanout import consumer as consumer_module
from gateway.queue.entries import Chunk, Lease, encode
from gateway.registry.user_devices import UserDevices
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.support.ports import free_port
from tests.support.rhoconnect import apple, lay_user, lay_users
from tests.support.worker_core import pipeline, until

PIN = "ab" * 32


async def test_entries_whose_look_up_fails_stay_with_their_worker(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The users' Redis is away for longer than a lease lasts: nobody else takes the ping and sends it too."""
    monkeypatch.setattr("gateway.queue.consumer.LEASE_S", 0.2)
    monkeypatch.setattr("gateway.fanout.in_flight.RENEW_S", 0.02)
    monkeypatch.setattr("gateway.fanout.consumer._RETRY_S", 0.02)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with (
        pipeline(redis_address, tmp_path, settings, name="one:0") as one,
        pipeline(redis_address, tmp_path, settings, name="two:0") as two,
    ):
        look_up, failures = one.registry.devices_of, 0

        async def away(users: Any) -> list[UserDevices]:
            nonlocal failures
            failures += 1
            if failures < 40:
                raise StoreDown("away")
            return await look_up(users)

        monkeypatch.setattr(one.registry, "devices_of", away)
        one.in_flight.start()
        ping_id = await one.append("bob")
        one.consumer.start()
        taken = 0
        while not apns.received:
            leases, _ = await two.streams.take_over(keys.PINGS, "0-0", 10)
            taken += len(leases)
        assert (taken, failures) == (0, 40)
        await one.done(ping_id)
        await one.consumer.close()
        await one.in_flight.close()
    assert len(apns.received) == 1


async def test_an_entry_settled_during_a_second_read_is_not_delivered_again(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restart reads what it held while the new pings come too; both wait for room."""
    monkeypatch.setattr(consumer_module, "SMALL_DELIVERIES", 1)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        apns.hold()
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        one.consumer.start()  # reads that entry once more, since this consumer holds it
        await until(lambda: apns.received)
        apns.release()
        await one.done(ping_id)
        later = await one.append("bob", message="later")
        await until(lambda: len(apns.received) > 1)
        await one.done(later)
        await one.consumer.close()
    assert [record.summary.alert for record in apns.received] == ["hello", "later"]


async def test_a_settled_entry_is_not_claimed_until_two_renewals_later(
    redis_address: str, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("nobody")
        leases = await one.read(keys.PINGS)
        await one.planner.deliver(leases)
        await one.done(ping_id)
        await one.in_flight._renew_held()
        assert one.in_flight.claim(leases) == []
        await one.in_flight._renew_held()
        assert one.in_flight.claim(leases) == leases
        one.in_flight.release(leases[0])


async def test_a_ping_that_cannot_be_planned_stops_no_other(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    await lay_user(redis_client, "eve", [apple("cd" * 32, device_app_id="odd")])
    async with pipeline(redis_address, tmp_path, settings) as one:
        route = one.lanes.route

        def failing(platform: str, app: str, token: str) -> Any:
            if app == "odd":
                raise KeyError(app)
            return route(platform, app, token)

        monkeypatch.setattr(one.lanes, "route", failing)
        ids = [await one.append(user) for user in ("eve", "bob")]
        await one.planner.deliver(await one.read(keys.PINGS))
        odd, good = [await one.done(ping_id) for ping_id in ids]
    assert (odd["counts"]["rejected"], odd["devices"][0]["reason"]) == (1, "internal")
    assert good["counts"]["accepted"] == 1


def test_entries_are_planned_in_parts_of_bounded_size() -> None:
    size = consumer_module.PLAN_BYTES
    payloads = [b"x" * (size // 2), b"x" * (size // 2), b"x", b"x" * (2 * size), b"x"]
    leases = [Lease(keys.PINGS, f"{n}-0", payload, 1, 1, False) for n, payload in enumerate(payloads)]
    parts = [[int(lease.entry[:-2]) for lease in part] for part in consumer_module._plan_groups(leases)]
    assert parts == [[0, 1], [2], [3], [4]]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for eight sends, of which a lane's share is two; each entry is planned for itself."""
    monkeypatch.setattr(consumer_module, "SMALL_DELIVERIES", 8)
    monkeypatch.setattr(consumer_module, "PLAN_BYTES", 1)
    monkeypatch.setattr("gateway.delivery.lane.WAITING_DELIVERIES", 2)


@pytest.mark.usefixtures("narrow")
async def test_a_burst_waits_for_a_lane_that_sends(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of it goes on the schedule, from which it would come back seconds later."""
    monkeypatch.setattr(consumer_module, "SHED_AFTER_S", 60)
    names = [f"user{number}" for number in range(7)]
    await lay_users(redis_client, {name: [apple(f"{name[4:]:0>64}")] for name in names})
    async with pipeline(redis_address, tmp_path, settings) as one:
        one.in_flight.start()
        ids = [await one.append(*names, message=str(number)) for number in range(6)]
        await one.consumer._deliver(await one.read(keys.PINGS))
        assert [(await one.done(ping_id))["counts"]["accepted"] for ping_id in ids] == [7] * 6
        assert await redis_client.zcard(keys.SCHEDULE) == 0
        await one.in_flight.close()
    assert len(apns.received) == 42


@pytest.mark.usefixtures("narrow")
async def test_a_lane_that_cannot_send_uses_only_its_share_of_the_room(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "SHED_AFTER_S", 0.01)
    settings["apps"] = {
        "odd": {"apns": {"key_id": "ABCDE12345", "port": free_port()}}
    }  # where nobody answers
    await lay_user(redis_client, "bob", [apple(PIN)])
    await lay_user(redis_client, "eve", [apple("cd" * 32, device_app_id="odd")])
    async with pipeline(redis_address, tmp_path, settings) as one:
        one.in_flight.start()
        for _ in range(20):
            await one.append("eve")
        good = await one.append("bob")
        await one.consumer._deliver(await one.read(keys.PINGS))
        await apns.received.wait(1)
        odd = one.lanes.route("apns", "odd").lane
        assert odd.backlog <= 8
        assert await redis_client.zcard(keys.SCHEDULE) >= 12
        await until(lambda: one.in_flight.deliveries(bulk=False) == odd.backlog)

        async def told() -> bool:  # its report is written after the send has left the ledger
            return bool((await one.report(good))["counts"].get("accepted") == 1)

        await until(told)
        await one.in_flight.close()


async def test_a_hanging_delivery_uses_no_room_of_finished_ones(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        apns.hold()
        await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        (batch,) = one.in_flight._batches.values()
        batch.open += 1  # another send of the same entry
        waiting = asyncio.create_task(one.in_flight.wait_for_room(bulk=False, deliveries=2))
        one.in_flight.start()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        batch.open -= 1  # has its verdict, while the unit goes on
        await asyncio.wait_for(waiting, 30)
        apns.release()
        await one.in_flight.close()


async def test_finished_pings_that_wait_for_a_hanging_one_are_bounded(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.in_flight.PINGS_HELD", 2)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        apns.hold()
        await asyncio.gather(one.append("bob"), one.append("nobody"), one.append("nobody"))
        await one.planner.deliver(await one.read(keys.PINGS))
        assert one.in_flight.deliveries(bulk=False) == 1
        assert one.in_flight.pings(bulk=False) >= 2
        waiting = asyncio.create_task(one.in_flight.wait_for_room(bulk=False, deliveries=100))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        apns.release()
        await asyncio.wait_for(waiting, 30)


async def test_no_retries_are_read_while_many_broadcast_deliveries_are_in_flight(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "BLOCK_MS", 20)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        in_hand = consumer_module.RETRIED_DELIVERIES
        monkeypatch.setattr(one.in_flight, "deliveries", lambda *, bulk: in_hand if bulk else 0)
        chunk = Chunk(Ping(id="0" * 32, message="again"), -1, (PIN[:32],), 1, 1, "", True)
        await redis_client.xadd(keys.RETRIES, {"e": encode(chunk), "n": 0, "s": 0})
        await one.append("bob")
        await one.consumer._read_small()
        await one.consumer._read_small()
        assert (await redis_client.xpending(keys.RETRIES, keys.GROUP))["pending"] == 0
        assert await redis_client.xlen(keys.RETRIES) == 1
        in_hand -= 1
        await one.consumer._read_small()
        await until(lambda: _none_left(redis_client))


async def _none_left(redis: Redis) -> bool:
    return await redis.xlen(keys.RETRIES) + await redis.xlen(keys.PINGS) == 0


async def test_small_pings_are_in_flight_until_they_are_settled(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        scheduler = one.in_flight.scheduler
        ids = [await one.append("bob") for _ in range(2)]
        assert scheduler._small == 0  # durable, and nobody's yet
        leases = one.in_flight.claim(await one.read(keys.PINGS))
        assert one.in_flight.claim(leases) == []
        assert scheduler._small == 2
        await one.planner.deliver(leases)
        for ping_id in ids:
            await one.done(ping_id)
        assert scheduler._small == 0
        await one.append("bob")
        (lost,) = one.in_flight.claim(await one.read(keys.PINGS))
        one.in_flight.release(lost)
        one.in_flight.release(lost)
        assert scheduler._small == 0
