"""What a worker holds stays its own until it is settled, whatever it has to wait for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.fanout import consumer as consumer_module
from gateway.queue.entries import Lease, Piece, encode
from gateway.registry.user_devices import Registration
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.support.ports import free_port
from tests.support.rhoconnect import apple, lay_user, lay_users
from tests.support.worker_core import spine, until

PIN = "ab" * 32


async def test_what_cannot_be_looked_up_stays_with_its_worker(
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
    monkeypatch.setattr("gateway.fanout.consumer._AGAIN_S", 0.02)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with (
        spine(redis_address, tmp_path, settings, name="one:0") as one,
        spine(redis_address, tmp_path, settings, name="two:0") as two,
    ):
        look_up, failures = one.registry.devices_of, 0

        async def away(users: Any) -> list[Registration]:
            nonlocal failures
            failures += 1
            if failures < 40:
                raise StoreDown("away")
            return await look_up(users)

        monkeypatch.setattr(one.registry, "devices_of", away)
        one.ledger.start()
        ping_id = await one.append("bob")
        one.intake.start()
        taken = 0
        while not apns.received:
            leases, _ = await two.streams.take_over(keys.PINGS, "0-0", 10)
            taken += len(leases)
        assert (taken, failures) == (0, 40)
        await one.done(ping_id)
        await one.intake.close()
        await one.ledger.close()
    assert len(apns.received) == 1


async def test_what_is_settled_while_a_second_reading_waits_is_not_delivered_again(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A restart reads what it held while the new pings come too; both wait for room."""
    monkeypatch.setattr(consumer_module, "SMALL_SENDS", 1)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with spine(redis_address, tmp_path, settings) as one:
        apns.hold()
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        one.intake.start()  # reads that entry once more, since this consumer holds it
        await until(lambda: apns.received)
        apns.release()
        await one.done(ping_id)
        later = await one.append("bob", message="later")
        await until(lambda: len(apns.received) > 1)
        await one.done(later)
        await one.intake.close()
    assert [record.summary.alert for record in apns.received] == ["hello", "later"]


async def test_one_ping_that_nobody_can_plan_stops_no_other(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    await lay_user(redis_client, "eve", [apple("cd" * 32, device_app_id="odd")])
    async with spine(redis_address, tmp_path, settings) as one:
        route = one.lanes.route

        def failing(platform: str, app: str) -> Any:
            if app == "odd":
                raise KeyError(app)
            return route(platform, app)

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
    parts = [[int(lease.entry[:-2]) for lease in part] for part in consumer_module._parts(leases)]
    assert parts == [[0, 1], [2], [3], [4]]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for eight sends, of which a lane's share is two; each entry is planned for itself."""
    monkeypatch.setattr(consumer_module, "SMALL_SENDS", 8)
    monkeypatch.setattr(consumer_module, "PLAN_BYTES", 1)
    monkeypatch.setattr("gateway.delivery.lane.WAITING_SHARE", 2)


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
    monkeypatch.setattr(consumer_module, "EASE_S", 60)
    names = [f"user{number}" for number in range(7)]
    await lay_users(redis_client, {name: [apple(f"{name[4:]:0>64}")] for name in names})
    async with spine(redis_address, tmp_path, settings) as one:
        one.ledger.start()
        ids = [await one.append(*names, message=str(number)) for number in range(6)]
        await one.intake._deliver(await one.read(keys.PINGS))
        assert [(await one.done(ping_id))["counts"]["accepted"] for ping_id in ids] == [7] * 6
        assert await redis_client.zcard(keys.LATER) == 0
        await one.ledger.close()
    assert len(apns.received) == 42


@pytest.mark.usefixtures("narrow")
async def test_a_lane_that_cannot_send_keeps_no_more_than_its_share_from_others(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "EASE_S", 0.01)
    settings["apps"] = {
        "odd": {"apns": {"key_id": "ABCDE12345", "port": free_port()}}
    }  # where nobody answers
    await lay_user(redis_client, "bob", [apple(PIN)])
    await lay_user(redis_client, "eve", [apple("cd" * 32, device_app_id="odd")])
    async with spine(redis_address, tmp_path, settings) as one:
        one.ledger.start()
        for _ in range(20):
            await one.append("eve")
        good = await one.append("bob")
        await one.intake._deliver(await one.read(keys.PINGS))
        await apns.received.wait(1)
        odd = one.lanes.route("apns", "odd").lane
        assert odd.backlog <= 8
        assert await redis_client.zcard(keys.LATER) >= 12
        await until(lambda: one.ledger.sends(bulk=False) == odd.backlog)

        async def told() -> bool:  # its report is written after the send has left the ledger
            return bool((await one.report(good))["counts"].get("accepted") == 1)

        await until(told)
        await one.ledger.close()


async def test_a_send_that_hangs_keeps_no_room_from_those_that_are_over(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with spine(redis_address, tmp_path, settings) as one:
        apns.hold()
        await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        (unit,) = one.ledger._units.values()
        unit.open += 1  # another send of the same entry
        waiting = asyncio.create_task(one.ledger.room(bulk=False, sends=2))
        one.ledger.start()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        unit.open -= 1  # has its verdict, while the unit goes on
        await asyncio.wait_for(waiting, 30)
        apns.release()
        await one.ledger.close()


async def test_pings_that_are_over_and_held_by_one_that_hangs_are_bounded(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.in_flight.PINGS_HELD", 2)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with spine(redis_address, tmp_path, settings) as one:
        apns.hold()
        await asyncio.gather(one.append("bob"), one.append("nobody"), one.append("nobody"))
        await one.planner.deliver(await one.read(keys.PINGS))
        assert one.ledger.sends(bulk=False) == 1
        assert one.ledger.pings(bulk=False) >= 2
        waiting = asyncio.create_task(one.ledger.room(bulk=False, sends=100))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        apns.release()
        await asyncio.wait_for(waiting, 30)


async def test_retries_are_left_where_they_are_while_many_sends_of_broadcasts_are_in_hand(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consumer_module, "BLOCK_MS", 20)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with spine(redis_address, tmp_path, settings) as one:
        in_hand = consumer_module.RETRIED_SENDS
        monkeypatch.setattr(one.ledger, "sends", lambda *, bulk: in_hand if bulk else 0)
        piece = Piece(Ping(id="0" * 32, message="again"), -1, (PIN[:32],), 1, 1, "", True)
        await redis_client.xadd(keys.RETRIES, {"e": encode(piece), "n": 0, "s": 0})
        await one.append("bob")
        await one.intake._read_small()
        await one.intake._read_small()
        assert (await redis_client.xpending(keys.RETRIES, keys.GROUP))["pending"] == 0
        assert await redis_client.xlen(keys.RETRIES) == 1
        in_hand -= 1
        await one.intake._read_small()
        await until(lambda: _none_left(redis_client))


async def _none_left(redis: Redis) -> bool:
    return await redis.xlen(keys.RETRIES) + await redis.xlen(keys.PINGS) == 0


async def test_small_pings_are_under_way_until_they_are_settled(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with spine(redis_address, tmp_path, settings) as one:
        turns = one.ledger.turns
        ids = [await one.append("bob") for _ in range(2)]
        assert turns._small == 0  # durable, and nobody's yet
        leases = one.ledger.claim(await one.read(keys.PINGS))
        one.ledger.claim(leases)
        assert turns._small == 2
        await one.planner.deliver(leases)
        for ping_id in ids:
            await one.done(ping_id)
        assert turns._small == 0
        await one.append("bob")
        (lost,) = one.ledger.claim(await one.read(keys.PINGS))
        one.ledger.let_go(lost)
        one.ledger.let_go(lost)
        assert turns._small == 0
