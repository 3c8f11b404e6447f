"""The cache of the registry, and what keeps it true."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from math import inf

import pytest
from redis.asyncio import Redis

from gateway.registry import change_log as change_log_module
from gateway.registry import invalidation
from gateway.registry.cache import DeviceCache
from gateway.registry.change_log import ChangeLog
from gateway.registry.invalidation import PREFIXES, InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.rhoconnect import Client, apple, lay_user
from tests.support.worker_core import read_until, until


class Watched:
    """A registry whose cache is on; tells how often Redis was asked."""

    def __init__(self, registry: DeviceRegistry, change_log: ChangeLog, proxy: Proxy, redis: Redis) -> None:
        self.registry = registry
        self.proxy = proxy
        self._change_log = change_log
        self._redis = redis

    async def pins(self, user: str = "bob") -> list[str]:
        (found,) = await self.registry.devices_of([user])
        return sorted(device.pin for device in found.devices)

    async def asked(self) -> int:
        """How many look-ups Redis has served."""
        stats = await self._redis.info("commandstats")
        return int(stats.get("cmdstat_sort", {}).get("calls", 0))

    async def noted(self, phone: Client) -> None:
        """Wait until the laying down of bob and this client is noted: what is read, or marked, from now on stays."""

        async def is_so() -> bool:
            known = await self._redis.hmget(keys.CHANGE_LOG, ["bob", phone.client_id])
            return None not in known and self._change_log.unchanged_since < inf

        await until(is_so)

    async def mark(self, phone: Client) -> None:
        """Mark the token of this client of bob as dead."""
        (found,) = await self.registry.devices_of(["bob"])
        (device,) = (one for one in found.devices if one.client_id == phone.client_id)
        assert await self.registry.mark_dead(device, "Unregistered", None, 1000)

    async def assert_pins(self, pins: list[str], user: str = "bob") -> None:
        """Assert that a look-up soon finds these push tokens, before a cached entry expires (`cache.LIFE_S`)."""
        assert await read_until(pins, partial(self.pins, user)) == pins


@pytest.fixture
async def watched(
    redis_server: RedisServer,
    redis_client: Redis,
    connection: RedisConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Watched]:
    monkeypatch.setattr(invalidation, "REPLY_S", 60.0)  # a busy machine does not end the connection
    registry, change_log = DeviceRegistry(connection), ChangeLog()
    async with Proxy(redis_server.socket) as proxy:
        invalidations = InvalidationListener(
            RedisAddress.parse(proxy.address), registry, change_log, "tested:0"
        )
        await invalidations.open()
        await until(lambda: redis_client.hexists(keys.LISTENERS, "tested:0"))
        yield Watched(registry, change_log, proxy, redis_client)
        await invalidations.close()
    await until(lambda: not registry.cache.enabled)


@pytest.fixture
async def phone(redis_client: Redis) -> Client:
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone])
    return phone


async def test_cached_users_are_not_read_again(watched: Watched, phone: Client) -> None:
    await watched.noted(phone)
    await watched.assert_pins(["aa"])
    asked = await watched.asked()
    assert [await watched.pins() for _ in range(3)] == [["aa"]] * 3
    assert await watched.asked() == asked


async def test_a_new_pin_counts_at_the_next_ping(
    watched: Watched, phone: Client, redis_client: Redis
) -> None:
    await watched.assert_pins(["aa"])
    await redis_client.set(f"client:{phone.client_id}:device_pin", "bb")
    await watched.assert_pins(["bb"])


async def test_an_added_and_a_removed_device_are_detected(
    watched: Watched, phone: Client, redis_client: Redis
) -> None:
    await watched.assert_pins(["aa"])
    other = apple("bb")
    await redis_client.mset(other.keys("bob"))
    await redis_client.sadd("user:bob:clients", other.client_id)
    await watched.assert_pins(["aa", "bb"])
    await redis_client.srem("user:bob:clients", phone.client_id)
    await watched.assert_pins(["bb"])
    await redis_client.delete(f"client:{other.client_id}:rho__id")
    await watched.assert_pins([])
    await redis_client.set(f"client:{other.client_id}:rho__id", other.client_id)
    await watched.assert_pins(["bb"])


async def test_a_new_user_is_detected(watched: Watched, redis_client: Redis) -> None:
    await watched.assert_pins([], "eve")
    await lay_user(redis_client, "eve", [apple("ee")])
    await watched.assert_pins(["ee"], "eve")


async def test_a_dead_mark_and_its_end_are_detected(
    watched: Watched, phone: Client, redis_client: Redis
) -> None:
    await watched.noted(phone)
    await watched.assert_pins(["aa"])
    await watched.mark(phone)
    await watched.assert_pins([])
    await redis_client.delete(keys.dead(phone.client_id))
    await watched.assert_pins(["aa"])


async def test_a_sync_ends_a_mark_that_is_cached(
    watched: Watched, phone: Client, redis_client: Redis
) -> None:
    await watched.noted(phone)
    await watched.assert_pins(["aa"])
    await watched.mark(phone)
    await watched.assert_pins([])
    await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-01-01 00:00:00 +0000")
    await watched.assert_pins(["aa"])


async def test_a_mark_before_the_record_of_a_registration_is_deleted_by_it(
    watched: Watched, redis_client: Redis
) -> None:
    """Nothing tells which of the two was first, and a device that lives must not stay without pings."""
    watched.proxy.hold()
    await lay_user(redis_client, "bob", [phone := apple("aa")])
    await watched.assert_pins(["aa"])
    await watched.mark(phone)
    watched.proxy.release()
    await watched.noted(phone)
    assert not await redis_client.exists(keys.dead(phone.client_id))
    await watched.assert_pins(["aa"])
    await watched.mark(phone)  # the next ping that the provider refuses
    await watched.assert_pins([])


async def test_a_flush_is_detected(watched: Watched, phone: Client, redis_client: Redis) -> None:
    await watched.assert_pins(["aa"])
    await redis_client.flushall()
    await watched.assert_pins([])


async def test_a_swapped_database_is_detected(
    watched: Watched, phone: Client, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log_module, "HEARTBEAT_S", 0.01)
    await watched.assert_pins(["aa"])

    async def beaten(before: bytes | None) -> bool:
        return await redis_client.get(keys.heartbeat("tested:0")) not in (None, before)

    for pins in ([], ["aa"], [], ["aa"]):
        await redis_client.swapdb(0, 1)
        await watched.assert_pins(pins)
        # Who swaps and swaps back between two beats is not seen.
        word = await redis_client.get(keys.heartbeat("tested:0"))
        await until(lambda word=word: beaten(word))


async def test_without_the_connection_nothing_is_cached(
    watched: Watched, phone: Client, redis_client: Redis
) -> None:
    await watched.assert_pins(["aa"])
    watched.proxy.vanish()
    await until(lambda: not watched.registry.cache.enabled)
    await redis_client.set(f"client:{phone.client_id}:device_pin", "bb")
    assert await watched.pins() == ["bb"]
    await redis_client.set(f"client:{phone.client_id}:device_pin", "cc")
    assert await watched.pins() == ["cc"]
    await watched.proxy.restore()
    await until(lambda: watched.registry.cache.enabled)
    await watched.assert_pins(["cc"])


async def test_changes_of_documents_are_not_received() -> None:
    """RhoConnect's documents change at every sync; their keys begin with `client:application:`."""
    assert not "client:application:bob:c1:Product:cd".startswith(PREFIXES)
    assert all(f"client:{n:02x}{'0' * 30}:device_pin".startswith(PREFIXES) for n in range(256))


async def test_clients_with_untracked_ids_are_never_cached(watched: Watched, redis_client: Redis) -> None:
    """A client id that is no hex is under no prefix: what is read of it holds once."""
    odd = apple("aa", client_id="application")
    await lay_user(redis_client, "bob", [odd])
    await watched.assert_pins(["aa"])
    await redis_client.set("client:application:device_pin", "bb")
    assert await watched.pins() == ["bb"]


async def test_an_entry_expires_by_age(
    connection: RedisConnection, redis_client: Redis, phone: Client
) -> None:
    registry = DeviceRegistry(connection, DeviceCache(life_s=-1.0))
    registry.cache.enabled = True
    assert [device.pin for device in (await registry.devices_of(["bob"]))[0].devices] == ["aa"]
    await redis_client.set(f"client:{phone.client_id}:device_pin", "bb")
    assert [device.pin for device in (await registry.devices_of(["bob"]))[0].devices] == ["bb"]


@pytest.mark.parametrize("what", ["user", "client", "all"])
async def test_data_that_changed_during_the_read_is_not_cached(
    connection: RedisConnection, redis_client: Redis, phone: Client, what: str
) -> None:
    registry = DeviceRegistry(connection)
    registry.cache.enabled = True
    changed = {"user": "bob", "client": phone.client_id}
    reading = asyncio.create_task(registry.devices_of(["bob"]))
    await asyncio.sleep(0)  # the question is on its way
    registry.invalidate(None if what == "all" else [changed[what]])
    await reading
    assert registry.cache.get(["bob"]) == [None]
    await registry.devices_of(["bob"])
    assert registry.cache.get(["bob"]) != [None]


async def test_the_cache_is_bounded(connection: RedisConnection, redis_client: Redis) -> None:
    registry = DeviceRegistry(connection, DeviceCache(users_max=10))
    registry.cache.enabled = True
    for n in range(50):
        await registry.devices_of([f"user{n}"])
        assert len(registry.cache) <= 10
