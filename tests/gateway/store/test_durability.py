"""Requirements on a Redis before a 200 can be trusted."""

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.errors import BadSetting, StoreDown
from gateway.store.client_factory import ServerFacts, facts
from gateway.store.durability import Durability, check_durability, judge
from tests.support.redis import KINDS, RedisServer, store_client


@pytest.fixture
async def sound(redis_client: Redis) -> ServerFacts:
    """A server that meets all requirements."""
    return changed(
        await facts(redis_client),
        product="redis",
        version="7.0.15",
        append_only=True,
        append_fsync="always",
        eviction="noeviction",
        replicas=1,
    )


def changed(found: ServerFacts, **changes: Any) -> ServerFacts:
    if dataclasses.is_dataclass(found):
        return dataclasses.replace(found, **changes)
    if isinstance(found, tuple):
        return found._replace(**changes)
    return msgspec.structs.replace(found, **changes)


@pytest.mark.parametrize("wanted", ["memory", "aof", "fsync", "replicas"])
async def test_a_suitable_server_causes_no_warning(sound: ServerFacts, wanted: Durability) -> None:
    assert judge(sound, wanted) == ([], [])


@pytest.mark.parametrize(
    ("changes", "wanted", "refused"),
    [
        ({"version": "6.0.16"}, "memory", "too old"),
        ({"append_only": False}, "aof", "append-only file is off"),
        ({"append_only": False}, "fsync", "append-only file is off"),
        ({"append_fsync": "everysec"}, "fsync", "appendfsync is everysec"),
        ({"replicas": 0}, "replicas", "no replica"),
        ({"master": False}, "memory", "replica"),
    ],
)
async def test_insufficient_durability_is_refused(
    sound: ServerFacts, changes: dict[str, Any], wanted: Durability, refused: str
) -> None:
    found, _ = judge(changed(sound, **changes), wanted)
    assert len(found) == 1
    assert refused in found[0]


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"append_only": False}, "append-only file is off"),
        ({"eviction": "allkeys-lru", "memory_max_bytes": 1}, "allkeys-lru"),
    ],
)
async def test_risky_configurations_cause_warnings(
    sound: ServerFacts, changes: dict[str, Any], warned: str
) -> None:
    refused, found = judge(changed(sound, **changes), "memory")
    assert refused == []
    assert len(found) == 1
    assert warned in found[0]


@pytest.mark.parametrize(("version", "taken"), [("6.2.0", True), ("6.1.9", False), ("7.0.0", True)])
async def test_the_oldest_accepted_version(sound: ServerFacts, version: str, taken: bool) -> None:
    assert (judge(changed(sound, version=version), "memory")[0] == []) == taken


@pytest.mark.parametrize("kind", KINDS)
async def test_a_loading_server_is_checked_when_it_has_loaded(kind: str) -> None:
    """While loading, it reports that its append-only file is off, and a gateway would end with a configuration
    error."""
    with RedisServer(kind, persist=True, options={"key-load-delay": "200"}) as server:
        with server.client() as client, client.pipeline(transaction=False) as pipe:
            for number in range(12_000):  # it serves its clients after each thousand
                pipe.set(f"key{number}", "1")
            pipe.execute()
        server.stop()
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        async with store_client(server.socket) as redis:
            found = await _first_facts(redis)
            assert (found.loading, found.append_only) == (True, None)
            assert await check_durability(redis, "aof", "redis") == []
            assert not (await facts(redis)).loading
        await starting


async def _first_facts(redis: Redis) -> ServerFacts:
    async with asyncio.timeout(30):
        while True:
            try:
                return await facts(redis)
            except StoreDown:
                await asyncio.sleep(0.01)


async def test_facts_of_a_real_server(redis_server: RedisServer, redis_client: Redis) -> None:
    (warning,) = await check_durability(redis_client, "memory", "redis")
    assert "append-only" in warning
    with pytest.raises(BadSetting) as refused:
        await check_durability(redis_client, "aof", "queue.redis")
    assert refused.value.field == "queue.redis"
