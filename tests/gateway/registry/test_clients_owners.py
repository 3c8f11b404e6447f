"""A client that changes hands, a push token that does, and how many clients a user may have: over a real store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown, TooManyDevices
from gateway.mailbox.store import MailboxMessage, MailboxStore
from gateway.registry import client_scripts
from gateway.registry.accounts import Accounts
from gateway.registry.cache import DeviceCache
from gateway.registry.change_log import ChangeLog
from gateway.registry.clients import Clients, TokenMailbox
from gateway.registry.invalidation import InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.registry.snapshots import SnapshotStore
from gateway.registry.token_marks import token_digest
from gateway.settings import Secret
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import until

CLIENT = "c0" * 16
OTHER = "0c" * 16
FIELDS = {
    "device_type": "ANDROID",
    "device_push_type": "rhoconnect_push",
    "device_pin": "token",
    "device_port": "100",
    "phone_id": "phone",
    "device_app_id": "app",
    "device_app_version": "1",
}
NOW_S = 1_795_600_000.0


@pytest.fixture
async def push(redis_address: str) -> AsyncIterator[MailboxStore]:
    """The push service's store, in the Redis of the users."""
    store = MailboxStore(RedisAddress.parse(redis_address))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other_push(redis_server: RedisServer, redis_address: str) -> AsyncIterator[MailboxStore]:
    """The push service's store, in a Redis of its own."""
    store = MailboxStore(RedisAddress.parse(redis_address.replace("db=0", "db=1")))
    await store.open()
    yield store
    async with store_client(redis_server.socket, db=1) as redis:
        await redis.flushdb()
    await store.close()


async def message(push: MailboxStore, token: str, text: str) -> int:
    """Queue a message; its id, 0 where the token is not registered."""
    queued: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    push.post(MailboxMessage(token, b'{"alert":"%b"}' % text.encode()), queued.set_result)
    return int(await queued)


async def polled(push: MailboxStore, instance: str) -> Any:
    found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    push.poll(instance.encode(), 0, found.set_result)
    return await found


async def fields_of(redis: Redis, client_id: str = CLIENT) -> dict[str, str]:
    prefix = f"client:{client_id}:"
    found = {}
    async for key in redis.scan_iter(f"{prefix}*"):
        found[key.decode().removeprefix(prefix)] = (await redis.get(key)).decode()
    return found


async def everything(redis: Redis) -> dict[bytes, bytes]:
    return {key: await redis.dump(key) async for key in redis.scan_iter("*")}


@pytest.mark.parametrize(
    "brought", [{}, {"device_pin": None}, {"device_pin": "new"}, {"phone_id": "", "device_type": "APPLE"}]
)
async def test_a_client_that_moves_keeps_nothing_of_its_device(
    redis_client: Redis, brought: dict[str, str | None]
) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await redis_client.set(keys.dead(CLIENT), f"{token_digest('token')}:1:Unregistered")
    await clients.register("eve", CLIENT, brought)
    said = {name: text for name, text in brought.items() if text is not None}
    assert await fields_of(redis_client) == said | {
        "rho__id": CLIENT,
        "user_id": "eve",
        "app_id": "application",
    }
    assert await redis_client.exists(keys.dead(CLIENT)) == 0
    assert (await clients.of_user("bob"), await clients.of_user("eve")) == ([], [CLIENT])
    assert await redis_client.get("client:count") == b"1"


@pytest.mark.parametrize(
    ("brought", "kind", "stays"),
    [
        ({"device_pin": "token"}, "host", True),
        ({}, "host", True),
        ({"device_pin": "new"}, "host", False),
        ({"device_pin": "token"}, "bad", False),
        ({"device_pin": "token"}, "gone", False),
    ],
)
async def test_a_registration_ends_every_mark_but_which_host_takes_the_same_token(
    redis_client: Redis, brought: dict[str, str], kind: str, stays: bool
) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    mark = f"{token_digest(FIELDS['device_pin'])}:1:{kind}:da39a3ee:0011:Reason"
    await redis_client.set(keys.dead(CLIENT), mark)
    await clients.register("bob", CLIENT, brought)
    assert await redis_client.exists(keys.dead(CLIENT)) == int(stays)


@pytest.mark.parametrize("brought", [{"device_pin": "token"}, {}, {"device_pin": "new"}])
@pytest.mark.parametrize("kind", ["host", "bad", "gone"])
async def test_a_client_that_moves_keeps_no_mark(
    redis_client: Redis, brought: dict[str, str], kind: str
) -> None:
    """Not even which host takes its token: another user's registration learns that anew."""
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    mark = f"{token_digest(FIELDS['device_pin'])}:1:{kind}:da39a3ee:0011:Reason"
    await redis_client.set(keys.dead(CLIENT), mark)
    await clients.register("eve", CLIENT, brought)
    assert await redis_client.exists(keys.dead(CLIENT)) == 0


async def test_a_client_that_stays_keeps_the_fields_that_are_not_sent(redis_client: Redis) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("bob", CLIENT, {"device_app_version": "2"})
    found = await fields_of(redis_client)
    assert {name: found[name] for name in FIELDS} == FIELDS | {"device_app_version": "2"}


@pytest.mark.parametrize("brought", [{}, {"device_pin": ""}, {"device_pin": "new"}])
async def test_the_push_registration_of_a_client_that_moves_ends(
    redis_client: Redis, push: MailboxStore, brought: dict[str, str]
) -> None:
    await push.register("phone", "app", "token")
    await push.register("phone", "other app", "other")
    assert await message(push, "token", "for bob")
    kept = await message(push, "other", "for the other app")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("eve", CLIENT, brought)
    assert await message(push, "token", "late") == 0
    assert await push.token_of("phone", "app") is None
    assert await push.token_of("phone", "other app") == "other"
    assert b'"id":%d' % kept in await polled(push, "phone")


async def test_the_last_push_registration_ends_with_its_instance(
    redis_client: Redis, push: MailboxStore
) -> None:
    await push.register("phone", "app", "token")
    await message(push, "token", "for bob")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("eve", CLIENT, {})
    for kind in ("reg:", "que:", "col:"):
        assert await redis_client.exists(f"{kind}phone") == 0
    # A counter that is ahead of the clock stays until the clock has overtaken it, and never for good.
    assert await redis_client.ttl("cnt:phone") != -1
    assert await polled(push, "phone") == 0


async def test_a_device_that_sends_its_token_keeps_its_registration_without_old_messages(
    redis_client: Redis, push: MailboxStore
) -> None:
    await push.register("phone", "app", "token")
    await message(push, "token", "for bob")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("eve", CLIENT, FIELDS)
    assert await polled(push, "phone") == b""
    assert await message(push, "token", "for eve")
    assert b"for eve" in await polled(push, "phone")


async def test_a_token_that_another_user_registers_leaves_the_earlier_users_client(
    redis_client: Redis, push: MailboxStore
) -> None:
    await push.register("phone", "app", "token")
    await message(push, "token", "for bob")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("bob", "0b" * 16, FIELDS)  # the same device after an installation
    await clients.register("eve", OTHER, FIELDS)
    for earlier in (CLIENT, "0b" * 16):
        assert "device_pin" not in await fields_of(redis_client, earlier)
    assert (await fields_of(redis_client, OTHER))["device_pin"] == "token"
    assert await polled(push, "phone") == b""
    await clients.register("bob", CLIENT, FIELDS)  # and back
    assert "device_pin" not in await fields_of(redis_client, OTHER)
    assert (await fields_of(redis_client))["device_pin"] == "token"


async def test_clients_of_one_user_and_of_other_apps_keep_a_token_that_they_share(
    redis_client: Redis,
) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("bob", OTHER, FIELDS)
    await clients.register("eve", "ee" * 16, FIELDS | {"device_app_id": "another"})
    for client_id in (CLIENT, OTHER, "ee" * 16):
        assert (await fields_of(redis_client, client_id))["device_pin"] == "token"


async def test_a_token_that_a_client_no_longer_has_belongs_to_no_client(redis_client: Redis) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await clients.register("bob", CLIENT, {"device_pin": "new"})
    await clients.register("eve", OTHER, FIELDS)
    assert (await fields_of(redis_client))["device_pin"] == "new"


async def test_a_push_service_with_a_redis_of_its_own(redis_client: Redis, other_push: MailboxStore) -> None:
    clients = Clients(redis_client, mailbox=other_push)
    for number in range(2):
        await other_push.register(f"phone{number}", "app", f"token{number}")
        assert await message(other_push, f"token{number}", "for bob")
    await clients.register("bob", CLIENT, FIELDS | {"device_pin": "token0"})
    await clients.register("bob", OTHER, FIELDS | {"device_pin": "token1"})
    await clients.register("eve", CLIENT, {})
    assert await polled(other_push, "phone0") == 0
    await clients.register("eve", "ee" * 16, {"device_pin": "token1"})
    assert await polled(other_push, "phone1") == b""
    assert await message(other_push, "token1", "for eve")
    await clients.delete("eve", "ee" * 16)
    assert await polled(other_push, "phone1") == b""


async def test_waiting_messages_are_deleted_with_a_client_or_a_user(
    redis_client: Redis, push: MailboxStore
) -> None:
    accounts = Accounts(redis_client, api_token=Secret("t"), admin_password=None, owns_store=False)
    clients = Clients(redis_client)
    await push.register("phone", "app", "token")
    for way in ("client", "user"):
        await accounts.create("bob", "")
        await clients.register("bob", CLIENT, FIELDS)
        await redis_client.set(keys.dead(CLIENT), "x:1:y")
        assert await message(push, "token", "for bob")
        if way == "client":
            await clients.delete("bob", CLIENT)
        await accounts.delete("bob")
        assert await polled(push, "phone") == b""
        assert await redis_client.exists(keys.dead(CLIENT), keys.registered(CLIENT)) == 0


@pytest.mark.parametrize("way", ["client", "user"])
async def test_waiting_messages_in_another_redis_are_deleted_with_a_client_or_a_user(
    redis_client: Redis, other_push: MailboxStore, way: str
) -> None:
    class Unreachable:
        """The other Redis during an outage."""

        async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
            raise StoreDown("not reachable")

    async def delete(mailbox: TokenMailbox) -> None:
        if way == "client":
            await Clients(redis_client, mailbox=mailbox).delete("bob", CLIENT)
        else:
            accounts = Accounts(
                redis_client, api_token=Secret("t"), admin_password=None, owns_store=False, mailbox=mailbox
            )
            await accounts.delete("bob")

    await lay_user(redis_client, "bob", [])
    await Clients(redis_client).register("bob", CLIENT, FIELDS)
    await other_push.register("phone", "app", "token")
    assert await message(other_push, "token", "for bob")
    with pytest.raises(StoreDown):
        await delete(Unreachable())
    await delete(other_push)
    assert await polled(other_push, "phone") == b""
    assert await fields_of(redis_client) == {}


async def test_the_clients_of_a_user_are_limited(redis_client: Redis) -> None:
    clients = Clients(redis_client, most=lambda: 3)
    made = await asyncio.gather(*(clients.create("bob", {}) for _ in range(12)), return_exceptions=True)
    refused = [error for error in made if isinstance(error, TooManyDevices)]
    held = [client_id for client_id in made if isinstance(client_id, str)]
    assert (len(held), len(refused)) == (3, 9)
    assert sorted(await clients.of_user("bob")) == sorted(held)
    await clients.register("bob", held[0], {"device_pin": "new"})  # one of those that there are
    await clients.register("eve", CLIENT, FIELDS)
    before = await everything(redis_client)
    with pytest.raises(TooManyDevices, match="devices_per_user"):
        await clients.register("bob", CLIENT, {})
    assert await everything(redis_client) == before
    await clients.delete("bob", held[0])
    await clients.register("bob", CLIENT, {})


@pytest.mark.parametrize(
    "name",
    [
        "user:bob:clients",
        "user:eve:clients",
        f"client:{CLIENT}:user_id",
        "tok:token",
        "reg:phone",
        "que:phone",
        "col:phone",
        keys.HOLDERS + hashlib.sha1(b"new", usedforsecurity=False).hexdigest(),
    ],
)
async def test_a_step_that_fails_leaves_everything_as_it_was(
    redis_client: Redis, push: MailboxStore, name: str
) -> None:
    await push.register("phone", "app", "token")
    await message(push, "token", "for bob")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await redis_client.delete(name)
    await redis_client.hset(name, "of another", "type")
    before = await everything(redis_client)
    with pytest.raises(StoreDown):
        await clients.register("eve", CLIENT, {"device_pin": "new"})
    assert await everything(redis_client) == before


async def test_a_full_redis_refuses_a_registration_completely(
    redis_client: Redis, push: MailboxStore
) -> None:
    await push.register("phone", "app", "token")
    await message(push, "token", "for bob")
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    before = await everything(redis_client)
    await redis_client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreDown):
            await clients.register("eve", CLIENT, {"device_pin": "new"})
        assert await everything(redis_client) == before
    finally:
        await redis_client.config_set("maxmemory", "0")


async def test_a_script_that_redis_has_not_cached_is_sent_again(redis_client: Redis) -> None:
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await redis_client.script_flush()
    await clients.register("eve", CLIENT, {})
    assert await clients.of_user("eve") == [CLIENT]


async def test_no_look_up_finds_one_users_client_with_anothers_token(
    redis_client: Redis, connection: RedisConnection
) -> None:
    """While a client goes to and fro, nobody who is looked up has the other's token."""
    clients, registry = Clients(redis_client), DeviceRegistry(connection, DeviceCache(users_max=0))
    moves = 200

    async def move() -> None:
        for number in range(moves):
            login = ("bob", "eve")[number % 2]
            await clients.register(login, CLIENT, {"device_type": "APPLE"})
            await clients.register(login, CLIENT, {"device_pin": login})

    moving = asyncio.create_task(move())
    seen: set[tuple[str, str]] = set()
    while not moving.done():
        for login, found in zip(("bob", "eve"), await registry.devices_of(["bob", "eve"]), strict=True):
            seen |= {(login, device.pin) for device in found.devices}
    await moving
    assert seen <= {("bob", ""), ("bob", "bob"), ("eve", ""), ("eve", "eve")}
    assert ("bob", "bob") in seen
    assert ("eve", "eve") in seen


async def test_pings_for_an_earlier_owner_do_not_reach_the_present_one(
    redis_client: Redis, connection: RedisConnection
) -> None:
    registry, before_ms = DeviceRegistry(connection), int(NOW_S * 1000)
    clients = Clients(redis_client, now=lambda: NOW_S)
    phone = apple("aa")
    await lay_user(redis_client, "bob", [phone])  # by RhoConnect
    await clients.register("bob", CLIENT, FIELDS)
    clients = Clients(redis_client, now=lambda: NOW_S + 60)
    for client_id in (phone.client_id, CLIENT):
        await clients.register("eve", client_id, FIELDS)
    ids = [phone.client_id, CLIENT, CLIENT]
    found = await registry.devices(ids, [before_ms, before_ms, before_ms + 61_000])
    assert [device is not None for device in found] == [False, False, True]
    await clients.delete("eve", CLIENT)  # and by another that was deleted in between
    clients = Clients(redis_client, now=lambda: NOW_S + 120)
    await clients.register("bob", CLIENT, FIELDS)
    assert await registry.devices([CLIENT], [before_ms + 61_000]) == [None]


async def test_the_caches_of_both_users_are_invalidated(
    redis_server: RedisServer, redis_client: Redis, connection: RedisConnection
) -> None:
    change_log = ChangeLog()
    registry = DeviceRegistry(connection, DeviceCache(), SnapshotStore(connection, change_log))
    invalidations = InvalidationListener(
        RedisAddress.parse(redis_server.address), registry, change_log, "tested:0"
    )
    await invalidations.open()
    clients = Clients(redis_client)
    await clients.register("bob", CLIENT, FIELDS)
    await lay_user(redis_client, "eve", [apple("ee")])

    async def pins() -> tuple[list[str], list[str]]:
        bob, eve = await registry.devices_of(["bob", "eve"])
        many = await registry.devices_of_many(["bob", "eve"])
        assert [set(one.devices) for one in many] == [set(bob.devices), set(eve.devices)]
        return [one.pin for one in bob.devices], sorted(one.pin for one in eve.devices)

    async def become(bob: list[str], eve: list[str]) -> None:
        async def are() -> bool:
            return all(registry.cache.get(["bob", "eve"])) and await pins() == (bob, eve)

        async def asked() -> bool:
            await pins()
            return await are()

        await until(asked)

    try:
        await become(["token"], ["ee"])
        await clients.register("eve", CLIENT, {"device_type": "APPLE"})
        await become([], ["", "ee"])
        await clients.register("bob", OTHER, FIELDS)
        await become(["token"], ["", "ee"])
        await clients.register("eve", "ee" * 16, FIELDS)
        await become([""], ["", "ee", "token"])
    finally:
        await invalidations.close()


def test_the_fields_of_a_device_are_those_of_the_script() -> None:
    for name in client_scripts.DEVICE_FIELDS:
        assert f"'{name}'" in client_scripts.REGISTER.text
