"""The stored marks of device tokens."""

import hashlib

import pytest
from redis.asyncio import Redis

from gateway.registry.registry import DeviceRegistry
from gateway.registry.token_marks import DEAD_ON_ALL_HOSTS, around, interpret, token_digest
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.registry.test_registry import SYNCED_MS
from tests.gateway.registry.test_user_devices import SYNCED, devices
from tests.support.rhoconnect import apple, lay_user


@pytest.fixture
async def registry(connection: RedisConnection) -> DeviceRegistry:
    return DeviceRegistry(connection)


async def test_a_dead_token_is_omitted_until_it_changes(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    phone = apple("ab")
    await lay_user(redis_client, "bob", [phone])
    (device,) = await devices(registry)
    assert await registry.mark_dead(device, "Unregistered", None, 1000)
    (found,) = await registry.devices_of(["bob"])
    assert (found.devices, found.dead, found.left_out) == ((), 1, (phone.client_id,))
    assert await registry.devices([phone.client_id]) == [None]
    await redis_client.set(f"client:{phone.client_id}:device_pin", "cd")
    assert {one.pin for one in await devices(registry)} == {"cd"}


async def test_a_mark_contains_no_token_and_expires(registry: DeviceRegistry, redis_client: Redis) -> None:
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    (device,) = await devices(registry)
    await registry.mark_dead(device, "Unregistered", None, 1000)
    name = keys.dead(device.client_id)
    assert (
        await redis_client.get(name) == f"{token_digest('ab' * 32)}:1000:gone:da39a3ee::Unregistered".encode()
    )
    assert b"abab" not in await redis_client.get(name)
    assert 0 < await redis_client.ttl(name) <= keys.DEAD_S


@pytest.mark.parametrize("proof", ["registered", "synced"])
@pytest.mark.parametrize(("since_ms", "dead"), [(-1, False), (0, False), (1, True)])
async def test_a_token_is_dead_only_if_its_device_has_not_synced_since(
    registry: DeviceRegistry, redis_client: Redis, proof: str, since_ms: int, dead: bool
) -> None:
    phone = apple("ab", last_sync=SYNCED if proof == "synced" else None)
    await lay_user(redis_client, "bob", [phone])
    if proof == "registered":
        await redis_client.set(keys.registered(phone.client_id), SYNCED_MS)
    (device,) = await devices(registry)
    assert await registry.mark_dead(device, "Unregistered", SYNCED_MS + since_ms, SYNCED_MS) == dead
    assert bool(await devices(registry)) != dead


@pytest.mark.parametrize(("host_keys", "life_s"), [((), keys.DEAD_S), (("0" * 16,), keys.BAD_TOKEN_S)])
async def test_a_mark_for_some_hosts_has_a_shorter_lifetime(
    registry: DeviceRegistry, redis_client: Redis, host_keys: tuple[str, ...], life_s: int
) -> None:
    await lay_user(redis_client, "bob", [apple("ab")])
    (device,) = await devices(registry)
    assert await registry.mark_dead(device, "reason", None, 1000, host_keys)
    assert life_s - 3_600 < await redis_client.ttl(keys.dead(device.client_id)) <= life_s


@pytest.mark.parametrize(("host_keys", "meaning"), [((), DEAD_ON_ALL_HOSTS), (("0" * 16,), "0" * 16)])
def test_a_sync_ends_a_mark(host_keys: tuple[str, ...], meaning: str) -> None:
    before, after = around("ab", "reason", 1000, host_keys)
    mark = f"{before}{hashlib.sha1(b'yesterday', usedforsecurity=False).hexdigest()[:8]}{after}".encode()
    assert interpret(mark, "ab", b"yesterday") == meaning
    assert interpret(mark, "ab", b"today") == ""
    assert interpret(mark, "other", b"yesterday") == ""
