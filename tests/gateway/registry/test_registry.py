"""Users' devices out of RhoConnect's keys."""

import asyncio
import gc

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.registry.registry import DeviceRegistry, changes
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.support.redis import RedisServer
from tests.support.rhoconnect import Client, android, apple, lay_user, lay_users

SYNCED_MS = 1_795_514_400_000


@pytest.fixture
async def registry(connection: RedisConnection) -> DeviceRegistry:
    return DeviceRegistry(connection)


async def test_users_are_returned_in_their_order_known_or_not(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    phones = {name: apple(name.encode().hex()) for name in ("bob", "eve")}
    await lay_users(redis_client, {name: [phone] for name, phone in phones.items()} | {"none": []})
    found = await registry.devices_of(["nobody", "eve", "none", "bob", "eve"])
    assert [one.unknown for one in found] == [True, False, True, False, False]
    assert [one.devices[0].client_id for one in found if one.devices] == [
        phones[name].client_id for name in ("eve", "bob", "eve")
    ]


async def test_a_login_may_have_any_character_of_json(registry: DeviceRegistry, redis_client: Redis) -> None:
    names = ["a:b", "a b", "ü", "*", "\n", "user:x:clients"]
    await lay_users(redis_client, {name: [apple(name.encode().hex())] for name in names})
    found = await registry.devices_of(names)
    assert [[one.pin for one in registration.devices] for registration in found] == [
        [name.encode().hex()] for name in names
    ]


async def test_clients_are_found_independently_of_their_users(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    phones: list[Client] = [apple("ab"), android("token")]
    await lay_users(redis_client, {"bob": phones[:1], "eve": phones[1:]})
    found = await registry.devices([phones[1].client_id, "0" * 32, phones[0].client_id])
    assert [one and one.pin for one in found] == ["token", None, "ab"]
    assert await registry.devices([]) == []


# Dead tokens.


# Errors.


async def test_a_key_of_another_type_affects_its_user_alone(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    await lay_user(redis_client, "bob", [apple("ab")])
    await redis_client.set("user:eve:clients", "x")
    eve, bob = await registry.devices_of(["eve", "bob"])
    assert (eve.unknown, len(bob.devices)) == (True, 1)


@pytest.mark.parametrize("many", [False, True])
async def test_an_error_of_redis_is_no_unknown_user(
    registry: DeviceRegistry, redis_client: Redis, many: bool
) -> None:
    await lay_user(redis_client, "bob", [apple("ab")])
    await redis_client.execute_command("ACL", "SETUSER", "default", "-sort", "-sscan")
    look_up = registry.devices_of_many if many else registry.devices_of
    try:
        with pytest.raises(StoreDown):
            await look_up(["bob"])
    finally:
        await redis_client.execute_command("ACL", "SETUSER", "default", "+sort", "+sscan")
    assert len((await look_up(["bob"]))[0].devices) == 1


async def test_a_lost_redis_raises_one_error_for_all_parts(
    registry: DeviceRegistry, connection: RedisConnection
) -> None:
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
    await connection.close()
    with pytest.raises(StoreDown):
        await registry.devices_of_many([f"user{number}" for number in range(100)])
    await asyncio.sleep(0)
    gc.collect()
    assert said == []


def test_the_effects_of_changed_keys() -> None:
    found = changes(
        [
            b"user:a:b:clients",
            b"user:bob:salt",
            b"client:ab:device_pin",
            b"client:ab:device_port",
            b"client:cd:last_sync",
            b"client:ef:rho__id",
            keys.dead("01").encode(),
        ]
    )
    assert found.names == {"a:b", "ab", "ef", "01"}
    assert found.syncs == {"cd:last_sync"}


async def test_a_sync_after_the_report_of_a_dead_token_prevents_the_mark(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    phone = apple("ab", last_sync="2026-11-24T10:00:00+0000")
    await lay_user(redis_client, "bob", [phone])
    (found,) = await registry.devices_of(["bob"])
    await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-11-24T12:00:00+0000")
    died_ms = SYNCED_MS + 3_600_000
    now_ms = died_ms + 2 * 3_600_000
    assert not await registry.mark_dead(found.devices[0], "Unregistered", died_ms, now_ms)
    assert await registry.mark_dead(found.devices[0], "Unregistered", died_ms + 3_600_001, now_ms)


async def test_a_sync_with_a_future_time_proves_nothing(
    registry: DeviceRegistry, redis_client: Redis
) -> None:
    """It was written by a clock that was ahead: dead tokens would be pushed to until that time had come."""
    phone = apple("ab", last_sync="2026-11-24T12:00:00+0000")
    await lay_user(redis_client, "bob", [phone])
    (found,) = await registry.devices_of(["bob"])
    await redis_client.set(keys.registered(phone.client_id), SYNCED_MS + 7_200_000)
    assert await registry.mark_dead(found.devices[0], "Unregistered", SYNCED_MS, SYNCED_MS + 3_600_000)


# Foreseen.


async def sorts(redis: Redis) -> int:
    """How many users were read out of RhoConnect's keys."""
    stats: dict[str, dict[str, int]] = await redis.info("commandstats")
    return stats.get("cmdstat_sort", {}).get("calls", 0)


async def test_prefetched_users_are_read_once(registry: DeviceRegistry, redis_client: Redis) -> None:
    phone = apple("ab")
    await lay_user(redis_client, "bob", [phone])
    registry.cache.enabled = True
    before = await sorts(redis_client)
    registry.prefetch(["bob", "nobody"])
    registry.prefetch(["bob"])  # on its way
    found = await registry.devices_of(["nobody", "bob", "bob"])
    assert [[one.pin for one in each.devices] for each in found] == [[], ["ab"], ["ab"]]
    registry.prefetch(["bob"])  # remembered
    await registry.devices_of(["bob"])
    assert await sorts(redis_client) - before == 2
    assert not registry._prefetched


async def test_a_change_during_a_prefetch_counts(
    registry: DeviceRegistry, redis_server: RedisServer, redis_client: Redis
) -> None:
    await lay_user(redis_client, "bob", [apple("ab")])
    registry.cache.enabled = True
    registry.prefetch(["bob"])
    asked = asyncio.ensure_future(registry.devices_of(["bob"]))
    await asyncio.sleep(0)
    with redis_server.client() as blocking:  # no reply to the prefetch is read meanwhile
        blocking.delete(keys.user("bob", "clients"))
    registry.invalidate({"bob"})
    assert [one.unknown or not one.devices for one in await asked] == [True]


async def test_nothing_is_prefetched_while_changes_are_not_received(registry: DeviceRegistry) -> None:
    registry.cache.enabled = False
    registry.prefetch(["bob"])
    assert not registry._prefetched


async def test_a_failed_prefetch_raises_its_error_for_the_caller(
    registry: DeviceRegistry, connection: RedisConnection, redis_client: Redis
) -> None:
    registry.cache.enabled = True
    await connection.close()
    registry.prefetch(["bob"])
    with pytest.raises(StoreDown):
        await registry.devices_of(["bob"])
    assert not registry._prefetched
