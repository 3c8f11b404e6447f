"""The reading loops: what was held before, what others held, what cannot be read."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import FIRST, Streams
from gateway.queue.entries import Lease
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from tests.support.rhoconnect import apple, lay_user, lay_users
from tests.support.worker_core import pipeline, until

PIN = "ab" * 32


async def test_entries_held_at_the_end_are_delivered_after_the_restart(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        ids = [await one.append("bob", message=f"ping {n}") for n in range(250)]
        assert len(await one.read(keys.PINGS, 1000)) == 250
    async with pipeline(redis_address, tmp_path, settings) as back:
        back.consumer.start()
        await apns.received.wait(250)
        for ping_id in ids:
            assert (await back.done(ping_id))["counts"]["accepted"] == 1
        await back.consumer.close()
    assert len({record.summary.alert for record in apns.received}) == len(apns.received) == 250


async def test_entries_of_an_inactive_consumer_are_all_taken_over(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than one claim gives, and behind entries that are no use to claim."""
    monkeypatch.setattr("gateway.queue.consumer.LEASE_S", 0.3)
    monkeypatch.setattr("gateway.fanout.consumer.LEASE_S", 0.3)
    monkeypatch.setattr("gateway.fanout.in_flight.RENEW_S", 0.05)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings, name="alive:0") as alive:
        alive.in_flight.start()
        apns.hold()
        for _ in range(200):
            await alive.append("bob", message="held by who is alive")
        await alive.planner.deliver(await alive.read(keys.PINGS, 1000))
        async with pipeline(redis_address, tmp_path, settings, name="gone:0") as gone:
            for _ in range(60):
                await gone.append("bob", message="held by who is gone")
            assert len(await gone.read(keys.PINGS, 1000)) == 60
        apns.received.clear()
        async with pipeline(redis_address, tmp_path, settings, name="successor:0") as successor:
            successor.consumer.start()
            records = await apns.received.wait(60)
            assert {record.summary.alert for record in records} == {"held by who is gone"}
            apns.release()
            await until(lambda: _settled(redis_client, keys.PINGS))
            await successor.consumer.close()
        await alive.in_flight.close()
    assert len(apns.received) == 60


async def test_a_worker_that_ends_releases_its_leases(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    """A new pod has another name, and would wait until a lease is over."""
    await lay_user(redis_client, "bob", [apple(PIN)])
    apns.faults.add("silence:next=1")
    async with (
        pipeline(redis_address, tmp_path, settings, name="ends:0") as ends,
        pipeline(redis_address, tmp_path, settings, name="goes-on:0") as goes_on,
    ):
        ping_id = await ends.append("bob")
        await ends.planner.deliver(await ends.read(keys.PINGS))
        await ends.append("bob")
        assert len(await ends.read(keys.PINGS)) == 1  # leased, and not begun
        assert (await goes_on.streams.take_over(keys.PINGS, FIRST, 10))[0] == []
        await ends.in_flight.close()
        leases, _ = await goes_on.streams.take_over(keys.PINGS, FIRST, 10)
        assert len(leases) == 2
        await goes_on.planner.deliver(leases)
        assert (await goes_on.done(ping_id))["counts"]["accepted"] == 1


async def test_nothing_is_leased_to_a_worker_that_stopped_reading(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """It drains for many seconds yet; its reads were waiting in Redis when it stopped to listen."""
    async with (
        pipeline(redis_address, tmp_path, settings, name="ends:0") as ends,
        pipeline(redis_address, tmp_path, settings, name="goes-on:0") as goes_on,
    ):
        ends.consumer.start()
        await until(lambda: _blocked(redis_client, 3))
        await ends.consumer.close()
        await until(lambda: _readers(redis_client, 3))  # the other's
        await goes_on.append(*(f"user{n}" for n in range(keys.BROADCAST_USERS + 1)))
        assert len(await goes_on.read(keys.BROADCASTS)) == 1


async def _blocked(redis: Redis, count: int) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"] == count)


async def _readers(redis: Redis, count: int) -> bool:
    names = [one["name"] for one in await redis.client_list()]
    return sum(names.count(f"rhopush:{what}") for what in ("small", "bulk", "broadcasts")) == count


async def test_nothing_is_taken_over_right_after_a_reconnect(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a silence of Redis all leases look forgotten, though their owners live."""
    monkeypatch.setattr("gateway.fanout.consumer.LEASE_S", 0.02)
    await lay_user(redis_client, "bob", [apple(PIN)])
    looks: list[float] = []
    async with (
        pipeline(redis_address, tmp_path, settings, name="owner:0") as owner,
        pipeline(redis_address, tmp_path, settings, name="other:0") as other,
    ):
        await owner.append("bob")
        (lease,) = await owner.read(keys.PINGS)
        await redis_client.xclaim(keys.PINGS, keys.GROUP, "owner:0", 0, [lease.entry], idle=3_600_000)
        reachable_s = 0.0

        def reached(_: Streams) -> float:
            looks.append(reachable_s)
            return reachable_s

        monkeypatch.setattr(Streams, "reachable_s", property(reached))
        other.consumer.start()
        await until(lambda: len(looks) > 3)
        assert len(apns.received) == 0
        reachable_s = 1.0
        await apns.received.wait(1)
        await other.consumer.close()


async def test_a_damaged_or_foreign_entry_hides_no_other(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        for stream in keys.STREAMS:
            await redis_client.xadd(stream, {"hello": "world"})
            await redis_client.xadd(stream, {"e": b"\xc1", "n": "many", "s": ""})
            await redis_client.xadd(stream, {"e": b"\x94\xa1x\x00\x90\x00", "n": 0, "s": 0})
        ping_id = await one.append("bob")
        one.consumer.start()
        await until(lambda: _reported(one, ping_id))
        for stream in keys.STREAMS:
            await until(lambda stream=stream: _settled(redis_client, stream))
        await one.consumer.close()
    assert len(apns.received) == 1
    assert await redis_client.xlen(keys.UNREADABLE) >= 2 * len(keys.STREAMS)


async def _reported(one: Any, ping_id: str) -> bool:
    report = await one.receipts.report(ping_id)
    return report is not None and report["state"] == "done"


async def _settled(redis: Redis, stream: str) -> bool:
    return bool(await redis.xlen(stream) == 0)


async def test_a_failed_loop_is_restarted(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.consumer._RETRY_S", 0.01)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        read, failures = one.streams.read, [RuntimeError("a defect"), RuntimeError("another")]

        async def failing(*args: Any) -> Any:
            if failures:
                raise failures.pop()
            return await read(*args)

        monkeypatch.setattr(one.streams, "read", failing)
        one.consumer.start()
        await one.append("bob")
        await apns.received.wait(1)
        await one.consumer.close()
    assert failures == []


@pytest.mark.parametrize("taken", [False, True], ids=["read", "taken"])
async def test_entries_whose_planning_failed_unexpectedly_are_planned_again(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    *,
    taken: bool,
) -> None:
    monkeypatch.setattr("gateway.fanout.consumer._RETRY_S", 0.01)
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        deliver, failures = one.planner.deliver, [OSError("a defect")]

        async def failing(leases: Sequence[Lease]) -> list[Lease]:
            if failures:
                raise failures.pop()
            return await deliver(leases)

        monkeypatch.setattr(one.planner, "deliver", failing)
        await one.append("bob")
        await one.append("bob")
        if taken:
            for lease in await one.read(keys.PINGS):
                one.consumer.take(lease)
        one.consumer.start()
        await apns.received.wait(2)
        await until(lambda: one.in_flight.empty)
        await one.consumer.close(60.0)
    assert failures == []
    assert len(apns.received) == 2


async def test_each_entry_is_claimed_once_before_it_is_planned_or_split(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    users = [f"user{number}" for number in range(keys.BROADCAST_USERS + 1)]
    await lay_users(redis_client, {user: [apple(f"{number:064x}")] for number, user in enumerate(users)})
    async with pipeline(redis_address, tmp_path, settings) as one:
        claim, deliver, offered = one.in_flight.claim, one.planner.deliver, Counter[tuple[str, str]]()
        unclaimed: list[Lease] = []

        def counted(leases: Sequence[Lease]) -> list[Lease]:
            offered.update((lease.stream, lease.entry) for lease in leases)
            return claim(leases)

        async def checked(leases: Sequence[Lease]) -> list[Lease]:
            unclaimed.extend(lease for lease in leases if not one.in_flight.holds(lease))
            return await deliver(leases)

        monkeypatch.setattr(one.in_flight, "claim", counted)
        monkeypatch.setattr(one.planner, "deliver", checked)
        taken = QueueProducer(
            one.queue._connection, BacklogLimits(1_000, 1_000_000), local_consumer=one.consumer
        )
        one.consumer._resume_needed.clear()  # the look for what was held before may find the same entries again
        one.consumer.start()
        ids = [(await taken.append(Ping(users=("user0",), message="taken"), 10)).ping_id]
        ids += [await one.append("user1", message="read"), await one.append(*users, message="broadcast")]
        await apns.received.wait(len(users) + 2)
        for ping_id in ids:
            await one.done(ping_id)
        await one.consumer.close()
    assert unclaimed == []
    assert set(offered.values()) == {1}
    assert {stream for stream, _ in offered} == {keys.PINGS, keys.BROADCASTS, keys.CHUNKS}
