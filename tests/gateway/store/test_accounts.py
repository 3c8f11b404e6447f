"""Users and tokens over a real store; the routes' tests show the rest."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.errors import RecordRefused, StoreDown
from gateway.settings import Secret
from gateway.store.accounts import Accounts, Standing
from gateway.store.address import Address
from gateway.store.passwords import keep_for_rhoconnect
from gateway.store.redis import client

TOKEN = "configured"


def accounts(redis: Redis, *, owns_store: bool = False, admin_password: str | None = None) -> Accounts:
    return Accounts(
        redis,
        api_token=Secret(TOKEN),
        admin_password=None if admin_password is None else Secret(admin_password),
        owns_store=owns_store,
    )


async def test_a_new_user_has_exactly_rhoconnects_keys(redis_client: Redis) -> None:
    await accounts(redis_client).create("bob", "secret")
    keys = {key.decode() async for key in redis_client.scan_iter("*")}
    assert keys == {
        "user:bob:rho__id",
        "user:bob:login",
        "user:bob:salt",
        "user:bob:hashed_password",
        "user:count",
        "app:application:rho__id",
        "app:application:name",
        "app:application:users",
    }
    assert await redis_client.smembers("app:application:users") == {b"bob"}
    assert await redis_client.get("user:bob:rho__id") == b"bob"


async def test_a_hash_of_rhoconnects_is_made_strong_where_nobody_else_reads_it(redis_client: Redis) -> None:
    await accounts(redis_client).create("bob", "secret")
    weak = await redis_client.get("user:bob:hashed_password")
    assert await accounts(redis_client).login("bob", "secret", "a") is not None
    assert await redis_client.get("user:bob:hashed_password") == weak
    ours = accounts(redis_client, owns_store=True)
    assert await ours.login("bob", "wrong", "a") is None
    assert await redis_client.get("user:bob:hashed_password") == weak
    user = await ours.login("bob", "secret", "a")
    assert user is not None
    strong = await redis_client.get("user:bob:hashed_password")
    assert strong.startswith(b"scrypt$")
    assert await ours.session_user("bob", user.fingerprint) is not None
    assert await ours.login("bob", "secret", "a") is not None
    assert await ours.login("bob", "wrong", "a") is None


async def test_one_of_two_who_create_a_user_at_once_is_refused(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    found = await asyncio.gather(*(ours.create("bob", "x") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, RecordRefused) for one in found) == 4
    assert await redis_client.get("user:count") == b"1"


@pytest.mark.parametrize("token", ["", "x" * 1025, "\udce9", "other"])
async def test_a_token_that_does_not_exist(redis_client: Redis, token: str) -> None:
    assert await accounts(redis_client).standing(token) is Standing.MISSING


async def test_the_configured_token_counts_while_redis_has_no_admin(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    assert await ours.standing(TOKEN) is Standing.ADMIN
    await redis_client.set("user:rhoadmin:token_id", "in-redis")
    assert await ours.standing(TOKEN) is Standing.MISSING
    await redis_client.mset({f"api_token:{TOKEN}:rho__id": TOKEN, f"api_token:{TOKEN}:user_id": "rhoadmin"})
    assert await ours.standing(TOKEN) is Standing.OTHER  # that user does not exist
    await redis_client.mset({"user:rhoadmin:rho__id": "rhoadmin", "user:rhoadmin:admin": "1"})
    assert await ours.standing(TOKEN) is Standing.ADMIN


async def test_the_configured_admin_logs_in_until_redis_has_one(redis_client: Redis) -> None:
    ours = accounts(redis_client, admin_password="from PSWRD")
    user = await ours.login("rhoadmin", "from PSWRD", "a")
    assert user is not None
    assert user.admin
    assert await ours.admin_token(user) == TOKEN
    assert await ours.session_user("rhoadmin", user.fingerprint) == user
    kept = keep_for_rhoconnect("in redis")
    await redis_client.mset(
        {
            "user:rhoadmin:rho__id": "rhoadmin",
            "user:rhoadmin:admin": "1",
            "user:rhoadmin:salt": kept.salt,
            "user:rhoadmin:hashed_password": kept.hashed,
            "user:rhoadmin:token_id": "t-redis",
        }
    )
    assert await ours.login("rhoadmin", "from PSWRD", "a") is None
    assert await ours.session_user("rhoadmin", user.fingerprint) is None
    found = await ours.login("rhoadmin", "in redis", "a")
    assert found is not None
    assert await ours.admin_token(found) == "t-redis"


@pytest.mark.parametrize("password", [None, ""])
async def test_no_admin_password_is_no_login(redis_client: Redis, password: str | None) -> None:
    assert await accounts(redis_client, admin_password=password).login("rhoadmin", "", "a") is None


async def test_deleting_a_user_takes_its_clients_and_token_along(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    await ours.create("bob", "x")
    await redis_client.mset(
        {
            "user:bob:token_id": "t",
            "api_token:t:rho__id": "t",
            "api_token:t:value": "t",
            "api_token:t:user_id": "bob",
            "client:c:rho__id": "c",
            "client:c:device_pin": "ab",
            "client:c:user_id": "bob",
            "client:c:Product:cd": "a document of RhoConnect's",
        }
    )
    await redis_client.sadd("user:bob:clients", "c")
    await ours.delete("bob")
    left = {key.decode() async for key in redis_client.scan_iter("*")}
    assert {key for key in left if "count" not in key and not key.startswith("app:")} == {
        "client:c:Product:cd"
    }


async def test_the_session_secret_is_made_once(redis_client: Redis) -> None:
    found = await asyncio.gather(*(accounts(redis_client).session_secret() for _ in range(5)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32


async def test_a_store_that_is_gone() -> None:
    gone = accounts(client(Address(unix_path="/nowhere")))
    for ask in (gone.standing("t"), gone.login("bob", "x", "a"), gone.logins(), gone.session_secret()):
        with pytest.raises(StoreDown) as caught:
            await ask
        assert caught.value.__cause__ is not None


async def test_users_and_secrets_do_not_show(redis_client: Redis) -> None:
    user = await accounts(redis_client).create("bob", "secret")
    assert repr(user) == "User('bob', admin=False)"
