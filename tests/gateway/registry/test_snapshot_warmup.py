"""After a lapse the snapshots of all users are made, before anybody is pinged."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.registry import snapshot_warmup as snapshot_warmup_module
from gateway.registry.change_log import ChangeLog
from gateway.registry.registry import DeviceRegistry
from gateway.registry.snapshot_warmup import SnapshotWarmup
from gateway.registry.snapshots import SnapshotStore
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import read_until, until

USERS = 700  # SSCAN gives them in several parts


@pytest.fixture
async def registry(connection: RedisConnection, redis_client: Redis) -> DeviceRegistry:
    change_log = ChangeLog()
    change_log.resume(1, {})
    await redis_client.hset(keys.CHANGE_LOG, mapping={"\0count": 1, "\0void": 1})
    names = [f"user{n}" for n in range(USERS)]
    await lay_users(redis_client, {name: [apple(name.encode().hex())] for name in names})
    await redis_client.sadd(keys.APP_USERS, *names)
    return DeviceRegistry(connection, None, SnapshotStore(connection, change_log))


@pytest.fixture
async def refill(
    connection: RedisConnection, registry: DeviceRegistry, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SnapshotWarmup]:
    monkeypatch.setattr(snapshot_warmup_module, "PAUSE_FACTOR", 0.1)
    monkeypatch.setattr(snapshot_warmup_module, "_RETRY_S", 0.01)
    made = SnapshotWarmup(connection, registry)
    yield made
    await made.close()


async def count(redis: Redis) -> int:
    return len([name async for name in redis.scan_iter(keys.snapshot("*"), 1000)])


async def assert_all_made(redis: Redis) -> None:
    """Assert that all users soon have a snapshot."""
    assert await read_until(USERS, lambda: count(redis)) == USERS


async def test_all_users_are_read(refill: SnapshotWarmup, redis_client: Redis) -> None:
    refill.begin()
    await assert_all_made(redis_client)


async def test_a_later_lapse_restarts_it(refill: SnapshotWarmup, redis_client: Redis) -> None:
    refill.begin()
    await until(lambda: count(redis_client))
    await redis_client.unlink(*[keys.snapshot(f"user{n}") for n in range(USERS)])
    refill.begin()
    await assert_all_made(redis_client)


async def test_it_waits_for_an_unavailable_store(
    refill: SnapshotWarmup, registry: DeviceRegistry, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failures = registry.devices_of_many, 3

    async def away(users: list[str]) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreDown("away")
        return await read(users)

    monkeypatch.setattr(registry, "devices_of_many", away)
    refill.begin()
    await assert_all_made(redis_client)
    assert failures == 0


async def test_closing_stops_it(
    refill: SnapshotWarmup, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_warmup_module, "PAUSE_FACTOR", 1e6)
    refill.begin()
    await until(lambda: count(redis_client))
    await refill.close()
    made = await count(redis_client)
    assert 0 < made < USERS


@pytest.mark.parametrize("what", ["nobody", "no set"])
async def test_without_users_it_ends(refill: SnapshotWarmup, redis_client: Redis, what: str) -> None:
    await redis_client.delete(keys.APP_USERS)
    if what == "no set":
        await redis_client.set(keys.APP_USERS, "x")
    refill.begin()
    assert refill._task is not None
    await asyncio.wait_for(refill._task, 30)
    assert await count(redis_client) == 0
