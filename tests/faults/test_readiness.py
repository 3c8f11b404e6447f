"""/readyz during failures of a Redis: it names the failing Redis and the reason, and recovers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.server import maintenance as maintenance_module
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import health, keys
from tests.support.providers import provider_settings
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.worker import Worker, working


class Apart(NamedTuple):
    """A worker whose queue and registry are on separate servers."""

    worker: Worker
    queue: RedisServer
    registry: RedisServer
    redis: Redis
    """A client of the queue's Redis."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe Redis at short intervals, so that no test waits for it."""
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.05)


@pytest.fixture(params=KINDS)
async def apart(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Apart]:
    async with AsyncExitStack() as stack:
        queue, registry = (stack.enter_context(RedisServer(request.param)) for _ in range(2))
        redis = await stack.enter_async_context(store_client(queue.socket))
        apns = await stack.enter_async_context(ApnsSimulator())
        fcm = await stack.enter_async_context(FcmSimulator())
        said = provider_settings(apns, fcm, drain_s=1, queue={"redis": queue.address})
        worker = await stack.enter_async_context(working(tmp_path, registry.address, said))
        yield Apart(worker, queue, registry, redis)


async def assert_readyz_names(worker: Worker, wanted: Mapping[str, str]) -> None:
    """Assert that /readyz names exactly these parts in time, with texts that contain these words."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(20):
            while not _fits(found := await _readiness(worker), wanted):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"/readyz never contained {wanted}: {found}") from None


async def _readiness(worker: Worker) -> dict[str, Any]:
    answer = await worker.request("GET", "/readyz")
    found: dict[str, Any] = answer.json()
    assert (answer.status, found["ready"]) == ((503, False) if found["missing"] else (200, True))
    return found


def _fits(found: dict[str, Any], wanted: Mapping[str, str]) -> bool:
    missing = found["missing"]
    return missing.keys() == wanted.keys() and all(words in missing[part] for part, words in wanted.items())


async def test_a_full_queue_redis_is_named(apart: Apart) -> None:
    await assert_readyz_names(apart.worker, {})
    await apart.redis.config_set("maxmemory", "1")
    await assert_readyz_names(apart.worker, {"queue.redis": "is full"})
    assert (await apart.worker.ping("bob")).status == 503  # the condition that readiness reports
    await apart.redis.config_set("maxmemory", "0")
    await assert_readyz_names(apart.worker, {})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_redis_that_is_full_at_the_start_is_named_immediately(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 1000.0)
    with RedisServer(kind, options={"maxmemory": "1"}) as server:
        async with working(tmp_path, server.address, {"rhoconnect_push": {"mode": "off"}}) as worker:
            found = await _readiness(worker)
            assert _fits(found, {"redis": "is full"}), found


async def test_a_queue_redis_is_named_as_long_as_it_is_a_replica(apart: Apart) -> None:
    await apart.redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    await assert_readyz_names(apart.worker, {"queue.redis": "read-only replica"})
    for _ in range(50):  # also while connections to it are closed and opened again
        found = await _readiness(apart.worker)
        assert _fits(found, {"queue.redis": "read-only replica"}), found
        await asyncio.sleep(0.02)
    await apart.redis.execute_command("REPLICAOF", "NO", "ONE")
    await assert_readyz_names(apart.worker, {})


@pytest.mark.parametrize("frozen", [False, True], ids=["killed", "frozen"])
async def test_an_unreachable_registry_redis_is_named(
    apart: Apart, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_STALE_S", 2.0)
    await assert_readyz_names(apart.worker, {})
    if frozen:
        apart.registry.freeze()
    else:
        apart.registry.kill()
    await assert_readyz_names(apart.worker, {"redis": "does not answer"})
    if frozen:
        apart.registry.thaw()
    else:
        apart.registry.start()
    await assert_readyz_names(apart.worker, {})


async def test_an_unresponsive_queue_redis_is_named_and_the_registrys_is_not(
    apart: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_STALE_S", 2.0)
    apart.queue.freeze()
    await assert_readyz_names(apart.worker, {"queue.redis": "does not answer"})
    for _ in range(50):
        found = await _readiness(apart.worker)
        assert _fits(found, {"queue.redis": "does not answer"}), found
        await asyncio.sleep(0.02)
    apart.queue.thaw()
    await assert_readyz_names(apart.worker, {})


async def test_a_queue_that_cannot_be_created_is_named_with_the_error_of_redis(apart: Apart) -> None:
    await apart.redis.delete(keys.RETRIES)
    await apart.redis.set(keys.RETRIES, "another's")
    await assert_readyz_names(apart.worker, {"queue": "cannot be created or read: WRONGTYPE"})
    await apart.redis.delete(keys.RETRIES)
    await assert_readyz_names(apart.worker, {})


async def test_a_redis_that_refuses_is_distinguished_from_an_unreachable_one(apart: Apart) -> None:
    await apart.redis.config_set("maxclients", "1")
    await apart.redis.client_kill_filter(_type="normal", skipme=True)
    await assert_readyz_names(apart.worker, {"queue.redis": "accepts no more connections"})
    await apart.redis.config_set("maxclients", "100")
    await assert_readyz_names(apart.worker, {})
