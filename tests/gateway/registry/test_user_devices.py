"""A user's devices, as Redis holds them."""

import pytest
from redis.asyncio import Redis

from gateway.registry.registry import DeviceRegistry
from gateway.store.connection import RedisConnection
from protocols.devices import Device
from tests.gateway.registry.test_registry import SYNCED_MS
from tests.support.rhoconnect import apple, lay_user

SYNCED = "2026-11-24T10:00:00+0000"


@pytest.fixture
async def registry(connection: RedisConnection) -> DeviceRegistry:
    return DeviceRegistry(connection)


async def devices(registry: DeviceRegistry, user: str = "bob") -> set[Device]:
    (found,) = await registry.devices_of([user])
    return set(found.devices)


async def test_each_field_of_a_client_is_read(registry: DeviceRegistry, redis_client: Redis) -> None:
    phone = apple("ab", phone_id="phone", device_app_id="app", last_sync=SYNCED)
    await lay_user(redis_client, "bob", [phone])
    assert await devices(registry) == {
        Device(phone.client_id, "Apple", "apple", "ab", "phone", "app", SYNCED_MS)
    }


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        (None, 0),
        ("", 0),
        ("yesterday", 0),
        ("2026-11-24T12:00:00+0200", SYNCED_MS),
        ("9999-99-99T00:00:00+0000", 0),
    ],
)
async def test_an_invalid_sync_time_counts_as_never(
    registry: DeviceRegistry, redis_client: Redis, text: str | None, at_ms: int
) -> None:
    await lay_user(redis_client, "bob", [apple("ab", last_sync=text)])
    assert {one.last_sync_ms for one in await devices(registry)} == {at_ms}


async def test_a_missing_client_is_counted(registry: DeviceRegistry, redis_client: Redis) -> None:
    phone, gone = apple("ab"), apple("cd")
    await lay_user(redis_client, "bob", [phone, gone])
    await redis_client.delete(f"client:{gone.client_id}:rho__id")
    (found,) = await registry.devices_of(["bob"])
    assert [one.client_id for one in found.devices] == [phone.client_id]
    assert (found.dangling, found.dead, found.left_out) == (1, 0, (gone.client_id,))
