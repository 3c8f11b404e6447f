"""One key a user in place of ten a device, and never an answer of before."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.registry import change_log as change_log_module
from gateway.registry.cache import DeviceCache
from gateway.registry.change_log import ChangeLog
from gateway.registry.invalidation import InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.registry.snapshots import SnapshotStore
from gateway.store import keys
from gateway.store.address import RedisAddress
from protocols.devices import Device
from tests.gateway.conftest import MakeLink
from tests.support.redis import RedisServer
from tests.support.rhoconnect import Client, apple, lay_user
from tests.support.worker_core import read_until, until


class Reader:
    """A process that looks users up; it remembers nothing itself."""

    def __init__(
        self, registry: DeviceRegistry, change_log: ChangeLog, invalidations: InvalidationListener
    ) -> None:
        self.registry = registry
        self.change_log = change_log
        self.invalidations = invalidations

    async def pins(self, user: str = "bob") -> list[str]:
        (found,) = await self.registry.devices_of([user])
        (also,) = await self.registry.devices_of_many([user])
        assert set(also.devices) == set(found.devices)
        return sorted(device.pin for device in found.devices)

    async def assert_pins(self, pins: list[str], user: str = "bob") -> None:
        """Assert that a look-up soon finds these push tokens."""
        assert await read_until(sorted(pins), partial(self.pins, user)) == sorted(pins)


Open = Callable[[str], Awaitable[Reader]]


@pytest.fixture
async def opened(
    redis_server: RedisServer, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Open]:
    monkeypatch.setattr(change_log_module, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(change_log_module, "JOIN_S", 0.2)
    async with AsyncExitStack() as stack:

        async def make(name: str) -> Reader:
            connection, change_log = await make_link(), ChangeLog()
            registry = DeviceRegistry(
                connection, DeviceCache(users_max=0), SnapshotStore(connection, change_log)
            )
            invalidations = InvalidationListener(
                RedisAddress.parse(redis_server.address), registry, change_log, name
            )
            await invalidations.open()
            stack.push_async_callback(invalidations.close)
            await until(lambda: change_log.complete)
            return Reader(registry, change_log, invalidations)

        yield make


async def sorts(redis: Redis) -> int:
    """How often RhoConnect's own keys were read."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_sort", {}).get("calls", 0))


async def kept(redis: Redis, user: str = "bob") -> bool:
    return bool(await redis.exists(keys.snapshot(user)))


async def quiet(reader: Reader, redis: Redis, user: str = "bob") -> None:
    """Wait until this user's snapshot is made and believed."""

    async def is_so() -> bool:
        before = await sorts(redis)
        await reader.pins(user)
        return await sorts(redis) == before

    await until(is_so)


async def test_a_snapshot_saves_another_process_the_read(opened: Open, redis_client: Redis) -> None:
    phone = apple("aa", phone_id="phone", device_app_id="app", last_sync="2026-11-24T10:00:00+0000")
    await lay_user(redis_client, "bob", [phone, gone := apple("bb")])
    await redis_client.delete(keys.client(gone.client_id, "rho__id"))
    one, two = await opened("one:0"), await opened("two:0")
    await quiet(one, redis_client)
    before = await sorts(redis_client)
    (found,) = await two.registry.devices_of(["bob"])
    assert await sorts(redis_client) == before
    assert found.devices == (
        Device(phone.client_id, "Apple", "apple", "aa", "phone", "app", 1_795_514_400_000),
    )
    assert (found.dangling, found.dead, found.left_out, found.unknown) == (1, 0, (gone.client_id,), False)
    assert 0 < await redis_client.ttl(keys.snapshot("bob")) <= keys.SNAPSHOT_S


async def test_every_change_invalidates_a_snapshot(opened: Open, redis_client: Redis) -> None:
    phone, other = apple("aa"), apple("bb")
    await lay_user(redis_client, "bob", [phone])
    one, two = await opened("one:0"), await opened("two:0")
    for act, pins in (
        (lambda: redis_client.set(keys.client(phone.client_id, "device_pin"), "cc"), ["cc"]),
        (lambda: redis_client.mset(other.keys("bob")), ["cc"]),
        (lambda: redis_client.sadd("user:bob:clients", other.client_id), ["bb", "cc"]),
        (lambda: redis_client.delete(keys.client(phone.client_id, "rho__id")), ["bb"]),
        (lambda: redis_client.srem("user:bob:clients", phone.client_id), ["bb"]),
        (lambda: one.registry.mark_dead(_device(other, "bb"), "Unregistered", None, 1), []),
        (lambda: redis_client.delete(keys.dead(other.client_id)), ["bb"]),
        (lambda: redis_client.delete("user:bob:clients"), []),
    ):
        await act()
        await one.assert_pins(pins)
        await two.assert_pins(pins)


async def test_a_snapshot_of_another_layout_is_rebuilt(opened: Open, redis_client: Redis) -> None:
    """Earlier versions counted devices as dead that are bad at one host alone."""
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone])
    one = await opened("one:0")
    await quiet(one, redis_client)
    packed = await redis_client.get(keys.snapshot("bob"))
    at, *_ = msgspec.msgpack.decode(packed)
    old = msgspec.msgpack.encode((at, (), 0, 1, (phone.client_id,)))
    await redis_client.set(keys.snapshot("bob"), old)
    two = await opened("two:0")
    assert await two.pins() == ["aa"]


@pytest.mark.parametrize("places", [(), ("0011223344556677",)])
async def test_a_user_with_a_mark_has_no_snapshot(
    opened: Open, redis_client: Redis, places: tuple[str, ...]
) -> None:
    """A sync ends a mark, and syncs are in no journal."""
    phone = apple("aa", last_sync="2026-11-24T10:00:00+0000")
    await lay_user(redis_client, "bob", [phone])
    one = await opened("one:0")
    await one.assert_pins(["aa"])
    await one.registry.mark_dead(_device(phone, "aa"), "Reason", None, 1, places)
    await until(lambda: _marked(one))
    await redis_client.delete(keys.snapshot("bob"))
    await one.pins()
    assert not await kept(redis_client)
    await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-11-25T10:00:00+0000")
    await one.assert_pins(["aa"])
    (found,) = await one.registry.devices_of(["bob"])
    assert (found.dead, found.marked) == (0, False)


async def _marked(one: Reader) -> bool:
    (found,) = await one.registry.devices_of(["bob"])
    return found.marked or found.dead == 1


def _device(phone: Client, pin: str) -> Device:
    return Device(phone.client_id, "Apple", "apple", pin)


async def test_a_sync_does_not_invalidate_a_snapshot(opened: Open, redis_client: Redis) -> None:
    """A ping with sources makes each phone sync: its user must not be read anew for that."""
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone, apple("bb")])
    one = await opened("one:0")
    await quiet(one, redis_client)
    await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-11-25T10:00:00+0000")
    await redis_client.set("client:ff:device_pin", "the end of what was to be heard")
    await until(lambda: redis_client.hexists(keys.CHANGE_LOG, "ff"))
    before = await sorts(redis_client)
    await one.pins()
    assert await sorts(redis_client) == before


async def test_users_with_two_records_of_a_device_have_no_snapshot(opened: Open, redis_client: Redis) -> None:
    old = apple("aa", phone_id="phone", last_sync="2026-11-01T10:00:00+0000")
    new = apple("bb", phone_id="phone", last_sync="2026-11-02T10:00:00+0000")
    await lay_user(redis_client, "bob", [old, new])
    one = await opened("one:0")
    assert await one.pins() == ["aa", "bb"]
    assert not await kept(redis_client)


@pytest.mark.parametrize("user", ["nobody", "odd"])
async def test_users_with_untracked_clients_have_no_snapshot(
    opened: Open, redis_client: Redis, user: str
) -> None:
    await lay_user(redis_client, "odd", [apple("aa", client_id="not-hex")])
    one = await opened("one:0")
    await one.pins(user)
    await one.pins("nobody")
    assert not await kept(redis_client, user)


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x91\x01", b"\x92\xa1x\x90"])
async def test_an_invalid_value_is_rebuilt(opened: Open, redis_client: Redis, value: bytes) -> None:
    await lay_user(redis_client, "bob", [apple("aa")])
    one = await opened("one:0")
    await redis_client.set(keys.snapshot("bob"), value)
    assert await one.pins() == ["aa"]
    await quiet(one, redis_client)
    assert await redis_client.get(keys.snapshot("bob")) != value


async def test_changes_without_a_listener_are_detected(opened: Open, redis_client: Redis) -> None:
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone])
    one = await opened("one:0")
    await quiet(one, redis_client)
    await one.invalidations.close()
    await redis_client.set(keys.client(phone.client_id, "device_pin"), "bb")
    two = await opened("two:0")
    assert await two.pins() == ["bb"]


async def test_a_snapshot_made_during_a_lapse_is_invalid(opened: Open, redis_client: Redis) -> None:
    """The write of the snapshot arrives after the change, of which its writer is not notified."""
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone])
    one = await opened("one:0")
    await quiet(one, redis_client)
    late = await redis_client.get(keys.snapshot("bob"))
    two = await opened("two:0")
    await redis_client.set(keys.client(phone.client_id, "device_pin"), "bb")
    await two.assert_pins(["bb"])
    await one.invalidations.close()
    await redis_client.set(keys.snapshot("bob"), late)
    assert await two.pins() == ["bb"]
    three = await opened("three:0")
    assert await three.pins() == ["bb"]


async def test_without_a_complete_change_log_snapshots_are_not_used(
    make_link: MakeLink, redis_client: Redis
) -> None:
    await lay_user(redis_client, "bob", [apple("aa")])
    connection, change_log = await make_link(), ChangeLog()
    unsure = DeviceRegistry(connection, None, SnapshotStore(connection, change_log))
    change_log.resume(1, {})
    unwanted = DeviceRegistry(connection, None, SnapshotStore(connection, change_log, wanted=False))
    change_log.complete = False
    for registry in (unsure, unwanted):
        assert [one.pin for one in (await registry.devices_of(["bob"]))[0].devices] == ["aa"]
        assert not await kept(redis_client)


class Shop:
    """Phones that come, change, move and go, and what is true of them."""

    def __init__(self, redis: Redis, seed: int) -> None:
        self._redis = redis
        self.chance = random.Random(seed)
        self._phones: dict[str, Client] = {}
        self._owner: dict[str, str] = {}

    async def step(self, number: int) -> None:
        """Something happens."""
        acts = [self._new, self._new, self._pin, self._gone, self._move]
        act = self.chance.choice(acts) if self._owner else self._new
        await act(number)

    def _some(self) -> str:
        return self.chance.choice(sorted(self._owner))

    async def _new(self, number: int) -> None:
        phone, user = apple(f"{number:04x}"), self.chance.choice(USERS)
        await self._redis.mset(phone.keys(user))
        await self._redis.sadd(f"user:{user}:clients", phone.client_id)
        self._phones[phone.client_id], self._owner[phone.client_id] = phone, user

    async def _pin(self, number: int) -> None:
        await self._redis.set(keys.client(self._some(), "device_pin"), f"{number:04x}")

    async def _gone(self, number: int) -> None:
        client = self._some()
        user = self._owner.pop(client)
        await self._redis.delete(*self._phones[client].keys(user))
        if number % 2:  # RhoConnect may leave it in the user's set
            await self._redis.srem(f"user:{user}:clients", client)

    async def _move(self, number: int) -> None:
        client, user = self._some(), self.chance.choice(USERS)
        await self._redis.srem(f"user:{self._owner[client]}:clients", client)
        self._owner[client] = user
        await self._redis.sadd(f"user:{user}:clients", client)

    async def pins(self, user: str) -> list[str]:
        """The true state."""
        names = [keys.client(client, "device_pin") for client, who in self._owner.items() if who == user]
        return [pin.decode() for pin in await self._redis.mget(names)] if names else []


USERS = ("bob", "eve", "ann")


@pytest.mark.parametrize("seed", range(4))
async def test_no_sequence_of_events_leaves_a_stale_snapshot(
    opened: Open, redis_client: Redis, seed: int
) -> None:
    """Processes come and go meanwhile; after each step every one of them says what is so."""
    shop = Shop(redis_client, seed)
    readers = [await opened("reader:first")]
    for number in range(60):
        await shop.step(number)
        if number % 7 == 3 and len(readers) < 3:
            readers.append(await opened(f"reader:{number}"))
        elif number % 5 == 2 and readers:
            await readers.pop(shop.chance.randrange(len(readers))).invalidations.close()
        for user in USERS:
            for reader in readers:
                await reader.assert_pins(await shop.pins(user), user)
