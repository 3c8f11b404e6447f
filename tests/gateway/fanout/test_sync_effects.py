"""The effect of a push: a device that syncs after a ping with sources, over workers and the restart of one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery import awaited
from gateway.fanout import sync_effects
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from tests.support.rhoconnect import Client, apple, lay_user
from tests.support.worker import Worker, working
from tests.support.worker_core import read_until, until

PHONE = apple("ab" * 32, device_app_id="com.example.app")
COUNT = "rhopush_sync_after_ping_seconds_count"


@pytest.fixture(autouse=True)
async def bob(redis_client: Redis) -> None:
    await lay_user(redis_client, "bob", [PHONE])


async def sync(redis: Redis, at: datetime | None = None, phone: Client = PHONE) -> None:
    """A sync of the phone, as RhoConnect records it."""
    moment = datetime.now(UTC) if at is None else at
    await redis.set(keys.client(phone.client_id, "last_sync"), moment.strftime("%Y-%m-%dT%H:%M:%S+0000"))


async def logged(redis: Redis, slot: int = 0) -> bool:
    """Whether a worker has written what it awaits."""
    return bool(await redis.exists(keys.awaited_syncs(f"tested:{slot}")))


async def value(worker: Worker, name: str, **labels: str) -> float:
    """The value of a metric; 0 if it has none."""
    text = ",".join(f'{label}="{said}"' for label, said in sorted(labels.items()))
    wanted = f"{name}{{{text}}} " if labels else f"{name} "
    lines = (await worker.request("GET", "/metrics")).body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


async def effects(worker: Worker) -> float:
    return await value(worker, COUNT, provider="apns", app="")


@asynccontextmanager
async def two_workers(
    folder: Path, redis_address: str, settings: dict[str, Any]
) -> AsyncIterator[tuple[Worker, Worker]]:
    async with (
        working(folder, redis_address, settings, slot=0) as one,
        working(folder, redis_address, settings, slot=1) as two,
    ):
        yield one, two


async def synced_report(worker: Worker, ping_id: str, number: int = 1) -> dict[str, Any]:
    return await worker.until(ping_id, state="done", synced=number)


async def test_a_sync_after_a_ping_with_sources_is_its_effect_and_counted_by_one_worker(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with two_workers(tmp_path, redis_address, settings) as (one, two):
        ping_id = await one.accepted("bob", sources="Product")
        assert "synced" not in await one.done(ping_id)
        await sync(redis_client)
        report = await synced_report(two, ping_id)
        assert 0 <= report["devices"][0]["synced_after_s"] <= 30
        await sync(redis_client, datetime.now(UTC) + timedelta(seconds=3))  # not the first
        other = await two.accepted("bob", sources="Product")
        await two.done(other)
        await sync(redis_client, datetime.now(UTC) + timedelta(seconds=6))
        await synced_report(one, other)
        assert (await synced_report(one, ping_id))["devices"] == report["devices"]
        assert await effects(one) + await effects(two) == 2
        assert await value(one, "rhopush_sync_awaited_total", provider="apns", app="") == 1


async def test_pings_without_sources_and_devices_that_are_deleted_have_no_effect(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    other = apple("cd" * 32)
    await lay_user(redis_client, "ann", [other])
    async with working(tmp_path, redis_address, settings) as worker:
        silent = await worker.accepted("bob", message="hello")
        awaited_id = await worker.accepted("ann", sources="all")
        await worker.done(silent)
        await worker.done(awaited_id)
        await sync(redis_client)
        # as RhoConnect deletes a client: all of its keys at once
        await redis_client.delete(*other.keys("ann"), keys.client(other.client_id, "last_sync"))
        marker = await worker.accepted("bob", sources="Product")
        await worker.done(marker)
        await sync(redis_client, datetime.now(UTC) + timedelta(seconds=3))
        await synced_report(worker, marker)
        assert "synced" not in await worker.report(silent)
        assert "synced" not in await worker.report(awaited_id)
        assert await effects(worker) == 1


async def test_each_ping_that_waits_for_a_device_has_its_effect(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with working(tmp_path, redis_address, settings) as worker:
        ids = [await worker.accepted("bob", sources="Product") for _ in range(awaited.BATCHES_MAX + 1)]
        for ping_id in ids:
            await worker.done(ping_id)
        await sync(redis_client)
        for ping_id in ids[1:]:
            await synced_report(worker, ping_id)
        assert "synced" not in await worker.report(ids[0])
        assert await value(worker, "rhopush_sync_dropped_total") == 1


@pytest.mark.parametrize("meanwhile", [True, False], ids=["synced while it was down", "synced later"])
async def test_a_restarted_worker_awaits_the_same_devices_and_repeats_no_effect(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], meanwhile: bool
) -> None:
    other = apple("cd" * 32)
    await lay_user(redis_client, "ann", [other])
    async with working(tmp_path, redis_address, settings) as worker:
        ping_id = await worker.accepted("bob", sources="Product")
        counted = await worker.accepted("ann", sources="Product")
        await worker.done(ping_id)
        await worker.done(counted)
        await sync(redis_client, phone=other)
        await synced_report(worker, counted)
    if meanwhile:
        await sync(redis_client, datetime.now(UTC) + timedelta(seconds=1))
    async with working(tmp_path, redis_address, settings) as worker:
        if not meanwhile:
            await sync(redis_client)
        await synced_report(worker, ping_id)
        assert await read_until(1, lambda: effects(worker)) == 1


async def test_a_killed_worker_loses_no_awaited_device_that_it_has_written(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], monkeypatch: Any
) -> None:
    """The first worker writes its log, and nothing at its end."""
    async with working(tmp_path, redis_address, settings) as worker:
        ping_id = await worker.accepted("bob", sources="Product")
        await until(lambda: logged(redis_client))
        kept = await redis_client.dump(keys.awaited_syncs("tested:0"))
        await worker.done(ping_id)
    await redis_client.restore(keys.awaited_syncs("tested:0"), 0, kept, replace=True)
    async with working(tmp_path, redis_address, settings) as worker:
        await sync(redis_client, datetime.now(UTC) + timedelta(seconds=1))
        report = await synced_report(worker, ping_id)
        assert 0 <= report["devices"][0]["synced_after_s"] <= 30
        assert await read_until(1, lambda: effects(worker)) == 1


async def test_a_broadcasts_syncs_are_counted_without_a_list(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    phones = {f"user{n}": apple(f"{n:064x}") for n in range(300)}
    for login, phone in phones.items():
        await lay_user(redis_client, login, [phone])
    async with working(tmp_path, redis_address, settings) as worker:
        ping_id = await worker.accepted(list(phones), sources="Product")
        await worker.done(ping_id)
        for phone in phones.values():
            await sync(redis_client, phone=phone)
        report = await synced_report(worker, ping_id, 300)
        assert report["devices"] == []
        assert await effects(worker) == 300


async def test_a_log_that_cannot_be_read_does_not_stop_a_worker(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await redis_client.rpush(keys.awaited_syncs("tested:0"), b"\xff", b"\x93\x01\x02\x03")
    async with working(tmp_path, redis_address, settings) as worker:
        ping_id = await worker.accepted("bob", sources="Product")
        await worker.done(ping_id)
        await sync(redis_client)
        report = await synced_report(worker, ping_id)
        assert 0 <= report["devices"][0]["synced_after_s"] <= 30
        assert await read_until(1, lambda: effects(worker)) == 1


async def test_the_log_is_bounded(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sync_effects, "DEVICES_MAX", 3)
    monkeypatch.setattr(sync_effects, "FLUSH_S", 0.01)
    async with working(tmp_path, redis_address, settings) as worker:
        for _ in range(12):
            await worker.done(await worker.accepted("bob", sources="Product"))
        entries = await redis_client.lrange(keys.awaited_syncs("tested:0"), 0, -1)
        assert 1 <= len(entries) <= 4
        assert 0 < await redis_client.ttl(keys.awaited_syncs("tested:0")) <= 1_200


async def test_many_awaited_devices_are_written_before_the_interval_ends(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sync_effects, "FLUSH_S", 1_000.0)
    monkeypatch.setattr("gateway.delivery.awaited.COLLECTED_MAX", 3)
    async with working(tmp_path, redis_address, settings) as worker:
        for _ in range(2):
            await worker.done(await worker.accepted("bob", sources="Product"))
        assert not await logged(redis_client)
        await worker.done(await worker.accepted("bob", sources="Product"))
        await until(lambda: logged(redis_client))
        await worker.done(await worker.accepted("bob", sources="Product"))
        assert len(await redis_client.lrange(keys.awaited_syncs("tested:0"), 0, -1)) == 1


async def test_a_lasting_defect_is_not_repeated_without_a_pause(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], monkeypatch: Any
) -> None:
    calls = 0

    def failing(self: awaited.AwaitedSyncs, now_ms: int) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("a defect")

    monkeypatch.setattr(sync_effects, "FLUSH_S", 1_000.0)
    monkeypatch.setattr("gateway.delivery.awaited.COLLECTED_MAX", 1)
    async with working(tmp_path, redis_address, settings) as worker:
        with monkeypatch.context() as patch:
            patch.setattr(awaited.AwaitedSyncs, "expire", failing)
            await worker.done(await worker.accepted("bob", sources="Product"))
            await until(lambda: calls)
            await worker.done(await worker.accepted("bob"))
            assert calls == 1


async def test_a_defect_does_not_end_the_writes(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], monkeypatch: Any
) -> None:
    flush, defects = sync_effects.SyncEffects._flush, [RuntimeError("a defect"), RuntimeError("another")]

    async def failing(self: sync_effects.SyncEffects) -> None:
        if defects:
            raise defects.pop()
        await flush(self)

    monkeypatch.setattr(sync_effects, "FLUSH_S", 0.01)
    monkeypatch.setattr(sync_effects.SyncEffects, "_flush", failing)
    async with working(tmp_path, redis_address, settings) as worker:
        await until(lambda: not defects)
        ping_id = await worker.accepted("bob", sources="Product")
        await worker.done(ping_id)
        await sync(redis_client)
        assert "synced_after_s" in (await synced_report(worker, ping_id))["devices"][0]
