"""A user with very many devices: read, planned, sent to and settled in slices, and overtaken by small pings."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.fanout import splitting
from gateway.fanout.splitting import Cursor
from gateway.queue.entries import decode_chunk
from gateway.registry import user_devices
from gateway.registry.registry import DeviceRegistry
from gateway.scheduling.scheduler import LIGHT_SLICE, Scheduler
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from protocols.devices import Device, DeviceTypes
from tests.support.rhoconnect import Client, apple, lay_users
from tests.support.worker_core import WorkerCore, pipeline, until

Open = Callable[..., AbstractAsyncContextManager[WorkerCore]]
DEVICES = 1_000


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    return lambda name="tested:0": pipeline(redis_address, tmp_path, settings, name=name)


def phone(number: int, **more: Any) -> Client:
    return apple(f"{number:064x}", client_id=f"{number:032x}", phone_id=f"phone{number}", **more)


def crowd(count: int = DEVICES, first: int = 0) -> list[Client]:
    return [phone(first + n) for n in range(count)]


def reached(apns: ApnsSimulator) -> Counter[int]:
    return Counter(int(record.token, 16) for record in apns.received.accepted)


async def finished(one: WorkerCore, ping_id: str) -> dict[str, Any]:
    async def over() -> bool:
        found = await one.receipts.report(ping_id)
        return found is not None and found["state"] == "done"

    await until(over)
    return await one.report(ping_id)


async def test_every_device_of_a_user_with_many_is_reached_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """Also where its ping names others, who share a phone, and where other pings came with it."""
    others = [phone(5_000), phone(7)]
    await lay_users(redis_client, {"shared": crowd(), "bob": others, "eve": [phone(6_000)]})
    await redis_client.sadd("user:shared:clients", "gone")
    async with opened() as one:
        both, small = await asyncio.gather(one.append("shared", "bob", "nobody"), one.append("eve"))
        one.consumer.start()
        report = await finished(one, both)
        assert (await finished(one, small))["counts"]["accepted"] == 1
        await one.consumer.close()
    assert reached(apns) == Counter([*range(DEVICES), 5_000, 6_000])
    assert report["counts"] == {"accepted": DEVICES + 1, "rejected": 0, "later": 0}
    assert report["skipped"] == {"repeated": 1, "unknown_user": 1, "dangling_client": 1}
    assert await redis_client.hgetall(keys.STATS) != {}
    assert await redis_client.hmget(keys.STATS, "pings", "bytes") == [b"0", b"0"]
    left = [name async for name in redis_client.scan_iter("rhopush:{q}:*")]
    assert [name for name in left if b":reached:" in name or b":progress:" in name] == []


async def test_of_two_records_of_a_device_the_newer_is_chosen(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    newer = apple(
        f"{9_999:064x}", client_id="ff" * 16, phone_id="phone7", last_sync="2030-01-01T00:00:00+0000"
    )
    await lay_users(redis_client, {"shared": [*crowd(), newer]})
    async with opened() as one:
        ping_id = await one.append("shared")
        one.consumer.start()
        report = await finished(one, ping_id)
        await one.consumer.close()
    assert reached(apns) == Counter([*range(7), *range(8, DEVICES), 9_999])
    assert report["skipped"] == {"repeated": 1}


async def test_a_chunk_with_a_user_of_many_devices_reaches_each_device_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    users = {f"user{n}": [phone(5_000 + n)] for n in range(keys.BROADCAST_USERS + 50)}
    users["user7"] = crowd()
    users["user8"] = [phone(3)]  # one of the same phones
    await lay_users(redis_client, users)
    async with opened() as one:
        ping_id = await one.append(*users)
        one.consumer.start()
        report = await finished(one, ping_id)
        await one.consumer.close()
    rest = [5_000 + n for n in range(len(users)) if n not in (7, 8)]
    assert reached(apns) == Counter([*range(DEVICES), *rest])
    assert report["counts"]["accepted"] == DEVICES + len(rest)
    assert report["skipped"] == {"repeated": 1}


async def test_several_such_users_in_one_ping(opened: Open, redis_client: Redis, apns: ApnsSimulator) -> None:
    users = {f"user{n}": crowd(200, 1_000 * n) for n in range(5)}
    await lay_users(redis_client, users)
    async with opened() as one:
        ping_id = await one.append(*users)
        one.consumer.start()
        report = await finished(one, ping_id)
        await one.consumer.close()
    assert reached(apns) == Counter(1_000 * n + index for n in range(5) for index in range(200))
    assert report["counts"]["accepted"] == 1_000


async def test_many_users_with_a_few_devices_each_are_split_too(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "PING_DEVICES", 50)
    users = {f"user{n}": crowd(10, 100 * n) for n in range(10)}
    await lay_users(redis_client, users)
    async with opened() as one:
        ping_id = await one.append(*users)
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: _pieces(redis_client, 10))
        one.consumer.start()
        assert (await finished(one, ping_id))["counts"]["accepted"] == 100
        await one.consumer.close()


async def _pieces(redis: Redis, count: int) -> bool:
    return bool(await redis.xlen(keys.CHUNKS) >= count)


@pytest.mark.parametrize("steps", range(4))
async def test_a_kill_between_two_steps_repeats_nothing_and_loses_nothing(
    opened: Open,
    redis_client: Redis,
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    monkeypatch.setattr(splitting, "CHUNK_CLIENTS", 100)
    monkeypatch.setattr(splitting, "STEP_CHUNKS", 3)
    await lay_users(redis_client, {"shared": crowd(), "eve": [phone(6_000)]})
    async with opened() as one:
        split_devices, done, blocked = one.targets.store.split_devices, 0, asyncio.Event()

        async def dies(*args: Any) -> int:
            nonlocal done
            if done == steps:
                blocked.set()
                await asyncio.Event().wait()
            done += 1
            return await split_devices(*args)

        monkeypatch.setattr(one.targets.store, "split_devices", dies)
        ping_id, small = await asyncio.gather(one.append("shared"), one.append("eve"))
        await one.planner.deliver(await one.read(keys.PINGS))
        await blocked.wait()
        await one.planner.close()
    async with opened() as back:
        back.consumer.start()
        report = await finished(back, ping_id)
        assert (await finished(back, small))["counts"]["accepted"] == 1
        await back.consumer.close()
    assert report["counts"]["accepted"] == DEVICES
    found = reached(apns)
    found.pop(6_000)  # the small ping of the killed worker may be repeated
    assert found == Counter(range(DEVICES))


async def test_chunks_are_small_and_their_number_on_the_stream_is_limited(
    opened: Open, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "CHUNK_CLIENTS", 10)
    monkeypatch.setattr(splitting, "STEP_CHUNKS", 2)
    await lay_users(redis_client, {"shared": crowd()})
    async with opened() as one:
        await one.append("shared")
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: _pieces(redis_client, splitting.AHEAD_CHUNKS))
        chunks = [decode_chunk(fields[b"e"]) for _, fields in await redis_client.xrange(keys.CHUNKS)]
        assert len(chunks) <= splitting.AHEAD_CHUNKS + 2
        assert {len(chunk.clients) for chunk in chunks} == {10}
        assert all(chunk.bulk and not chunk.ping.users for chunk in chunks)
        await one.planner.close()


class _Noting(Scheduler):
    """Counts the turns that were waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = 0

    async def turn(self) -> None:
        self.scheduler += 1
        await super().turn()


async def test_a_user_with_many_devices_is_read_in_slices(
    opened: Open, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reply, and no step of the loop between two turns, has to do with more than a slice."""
    await lay_users(redis_client, {"shared": crowd(5_000)})
    scheduler = _Noting()
    read: list[int] = []
    device = user_devices.device

    def noting(*args: Any) -> Any:
        read.append(scheduler.scheduler)
        return device(*args)

    monkeypatch.setattr("gateway.registry.registry.device", noting)
    monkeypatch.setattr(user_devices, "device", noting)
    async with opened() as one:
        registry = DeviceRegistry(one.reader, scheduler=scheduler)
        (first,) = await registry.devices_of(["shared"])
        assert first.large
        assert len(read) == user_devices.LARGE_DEVICES + 1
        read.clear()
        found = await registry.all_devices("shared")
        assert len(found.devices) == 5_000
        assert max(Counter(read).values()) <= LIGHT_SLICE
        read.clear()
        assert len(await registry.devices([f"{n:032x}" for n in range(5_000)])) == 5_000
        assert max(Counter(read).values()) <= LIGHT_SLICE


async def test_devices_are_chosen_in_slices(
    opened: Open, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two slices the loop has a turn for others, also where all devices are read already."""
    await lay_users(redis_client, {"shared": crowd()})
    chosen: list[int] = []
    turns = 0
    fit = splitting.fit

    def noting(device: Device, device_types: DeviceTypes) -> Any:
        chosen.append(turns)
        return fit(device, device_types)

    monkeypatch.setattr(splitting, "fit", noting)
    async with opened() as one:
        turn = one.in_flight.scheduler.turn

        async def counted() -> None:
            nonlocal turns
            turns += 1
            await turn()

        monkeypatch.setattr(one.in_flight.scheduler, "turn", counted)
        await one.append("shared")
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: _pieces(redis_client, 1))
        await one.planner.close()
    assert len(chosen) == DEVICES
    assert max(Counter(chosen).values()) == LIGHT_SLICE


async def test_a_small_ping_overtakes_one_to_many_devices(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    """In the same entry, and behind it: the small ones are over while most of the others are still to come."""
    await lay_users(redis_client, {"shared": crowd(5_000), "eve": [phone(60_000)]})
    async with opened() as one:
        ping_id, same = await asyncio.gather(one.append("shared"), one.append("eve", message="same entry"))
        one.consumer.start()
        behind = await one.append("eve", message="behind")
        await finished(one, same)
        await finished(one, behind)
        assert sum(reached(apns).values()) < 2_500
        await one.consumer.close()
        assert (await one.report(ping_id))["state"] in ("queued", "open")


@pytest.mark.parametrize("text", ["", "x", "1:2", "1:x:c", "9" * 5_000 + ":1:c", "²:1:c"])
def test_an_unreadable_cursor_restarts_the_splitting(text: str) -> None:
    assert Cursor.parse(text) in (Cursor(), Cursor(1, 2, ""))
    assert Cursor.parse(str(Cursor(3, 4, "a:b"))) == Cursor(3, 4, "a:b")


async def test_devices_of_other_apps_are_in_no_chunk(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    phones = [phone(number, device_app_id="ab"[number % 2]) for number in range(DEVICES)]
    await lay_users(redis_client, {"shared": phones})
    async with opened() as one:
        ping_id = await one.append("shared", apps=("a",))
        one.consumer.start()
        report = await finished(one, ping_id)
        await one.consumer.close()
    wanted = [number for number in range(DEVICES) if number % 2 == 0]
    assert reached(apns) == Counter(wanted)
    assert report["counts"] == {"accepted": len(wanted), "rejected": 0, "later": 0}
    assert report["skipped"] == {"app_not_allowed": DEVICES - len(wanted)}
    assert report["apps"] == ["a"]


async def test_several_large_pings_of_one_entry_are_split_at_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    await lay_users(redis_client, {"a": crowd(200), "b": crowd(200, 1_000), "c": crowd(200, 2_000)})
    async with opened() as one:
        ids = await asyncio.gather(*(one.append(user) for user in "abc"))
        leases = await one.read(keys.PINGS)
        assert [lease.pings for lease in leases] == [3]
        await one.planner.deliver(leases)
        assert await one.in_flight.wait_empty(10)
        assert not await redis_client.xlen(keys.PINGS)  # it is settled; a lost lease ends after 20 s only
        one.consumer.start()
        reports = [await finished(one, ping_id) for ping_id in ids]
        await one.consumer.close()
    assert [report["counts"]["accepted"] for report in reports] == [200] * 3
    assert set(reached(apns).values()) == {1}


@pytest.mark.parametrize("damaged", [b"\xff", b"99:0:c", b"00:0:"])
async def test_a_damaged_cursor_stops_no_ping(
    opened: Open,
    redis_client: Redis,
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    damaged: bytes,
) -> None:
    await lay_users(redis_client, {"shared": crowd(200)})
    async with opened() as one:
        split_devices, begun = one.targets.store.split_devices, asyncio.Event()

        async def dies(*args: Any) -> int:
            if begun.is_set():
                await asyncio.Event().wait()
            ahead = await split_devices(*args)
            begun.set()
            return ahead

        monkeypatch.setattr(one.targets.store, "split_devices", dies)
        ping_id = await one.append("shared")
        (lease,) = await one.read(keys.PINGS)
        await one.planner.deliver([lease])
        await begun.wait()
        await one.planner.close()
    await redis_client.hset(keys.progress(lease.stream, lease.entry), "cursor", damaged)
    async with opened() as back:
        back.consumer.start()
        report = await finished(back, ping_id)
        await back.consumer.close()
    assert report["counts"]["accepted"] == 200


@pytest.mark.parametrize("are_verdicts_saved", [False, True])
async def test_a_user_who_loses_devices_during_a_restart_is_split_to_the_end(
    opened: Open,
    redis_client: Redis,
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    *,
    are_verdicts_saved: bool,
) -> None:
    """The ping counts the splitting as open in its receipt, and some of its chunks are on their stream."""
    monkeypatch.setattr(splitting, "CHUNK_CLIENTS", 100)
    monkeypatch.setattr(splitting, "STEP_CHUNKS", 3)
    await lay_users(redis_client, {"shared": crowd(), "eve": [phone(6_000)]})
    async with opened() as one:
        split_devices, begun, blocked = one.targets.store.split_devices, 0, asyncio.Event()

        async def dies(*args: Any) -> int:
            nonlocal begun
            if begun == 2:
                blocked.set()
                await asyncio.Event().wait()
            begun += 1
            return await split_devices(*args)

        monkeypatch.setattr(one.targets.store, "split_devices", dies)
        ping_id, _ = await asyncio.gather(one.append("shared"), one.append("eve"))
        await one.planner.deliver(await one.read(keys.PINGS))
        await blocked.wait()
        await until(lambda: reached(apns)[6_000])
        if are_verdicts_saved:
            await one.in_flight._save_unsaved()
        await one.planner.close()
    kept = [one.client_id for one in crowd()[:50]]
    await redis_client.delete("user:shared:clients")
    await redis_client.sadd("user:shared:clients", *kept)
    async with opened() as back:
        back.consumer.start()
        report = await finished(back, ping_id)
        await back.consumer.close()
    assert report["counts"]["accepted"] == 300  # those of the chunks on the stream
    assert set(reached(apns)) == {*range(300), 6_000}
