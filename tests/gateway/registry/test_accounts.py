"""Users and tokens over a real store; the routes' tests show the rest."""

import asyncio
import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import LoginRefused, NotFound, RecordRefused, StoreDown, TooManyUsers
from gateway.registry import passwords
from gateway.registry.accounts import Accounts, TokenRole
from gateway.registry.clients import Clients
from gateway.registry.passwords import hash_for_rhoconnect
from gateway.settings import Secret
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.keys import SESSION_HMAC
from gateway.store.redis_py_pool import with_bounded_pool
from protocols.errors import InvalidField
from tests.support.redis import RedisServer, store_client

TOKEN = "configured"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrypt of a thirtieth of the work: the tests count the hashes and see where they are computed."""
    monkeypatch.setattr(passwords, "_N", 2**10)


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


async def test_a_hash_of_rhoconnect_is_replaced_by_a_strong_one_if_only_the_gateway_reads_it(
    redis_client: Redis,
) -> None:
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


async def test_one_of_two_concurrent_creations_of_a_user_is_refused(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    found = await asyncio.gather(*(ours.create("bob", "x") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, RecordRefused) for one in found) == 4
    assert await redis_client.get("user:count") == b"1"


@pytest.mark.parametrize("token", ["", "x" * 1025, "\udce9", "other"])
async def test_a_token_that_does_not_exist(redis_client: Redis, token: str) -> None:
    assert await accounts(redis_client).token_role(token) is TokenRole.MISSING


async def test_the_configured_token_counts_while_redis_has_no_admin(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    assert await ours.token_role(TOKEN) is TokenRole.ADMIN
    await redis_client.set("user:rhoadmin:token_id", "in-redis")
    assert await ours.token_role(TOKEN) is TokenRole.MISSING
    await redis_client.mset({f"api_token:{TOKEN}:rho__id": TOKEN, f"api_token:{TOKEN}:user_id": "rhoadmin"})
    assert await ours.token_role(TOKEN) is TokenRole.OTHER  # that user does not exist
    await redis_client.mset({"user:rhoadmin:rho__id": "rhoadmin", "user:rhoadmin:admin": "1"})
    assert await ours.token_role(TOKEN) is TokenRole.ADMIN


async def test_the_configured_admin_logs_in_until_redis_has_one(redis_client: Redis) -> None:
    ours = accounts(redis_client, admin_password="from PSWRD")
    user = await ours.login("rhoadmin", "from PSWRD", "a")
    assert user is not None
    assert user.admin
    assert ours.admin_token(user) == TOKEN
    assert await ours.session_user("rhoadmin", user.fingerprint) == user
    kept = hash_for_rhoconnect("in redis")
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
    assert ours.admin_token(found) == "t-redis"


@pytest.mark.parametrize("password", [None, ""])
async def test_no_admin_password_is_no_login(redis_client: Redis, password: str | None) -> None:
    assert await accounts(redis_client, admin_password=password).login("rhoadmin", "", "a") is None


async def test_deleting_a_user_deletes_its_clients_and_token(redis_client: Redis) -> None:
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


async def test_an_unreachable_store_is_an_error() -> None:
    gone = accounts(client(RedisAddress(unix_path="/nowhere")))
    for ask in (gone.token_role("t"), gone.login("bob", "x", "a"), gone.logins(), gone.session_secret()):
        with pytest.raises(StoreDown) as caught:
            await ask
        assert caught.value.__cause__ is not None


async def test_creation_of_a_user_by_an_unauthenticated_caller(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    made = await asyncio.gather(*(ours.user_or_new(f"user{n}", "x", f"client{n}", 20) for n in range(20)))
    assert await asyncio.gather(*(ours.user_or_new(f"user{n}", "y", "a", 1) for n in range(20))) == made
    with pytest.raises(InvalidField):
        await ours.user_or_new("\udce9", "x", "a", 30)
    with pytest.raises(TooManyUsers, match=r"20 users.*limits\.users"):
        await ours.user_or_new("user20", "x", "a", 20)
    assert await ours.user("user20") is None


async def test_the_repr_shows_no_secrets(redis_client: Redis) -> None:
    user = await accounts(redis_client).create("bob", "secret")
    assert repr(user) == "User('bob', admin=False)"


async def test_an_unknown_name_takes_as_long_as_a_known_one(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a login, it takes one scrypt: neither time nor load tells which names exist."""
    ours = accounts(redis_client, owns_store=True, admin_password="configured")
    await ours.create("strong", "secret")
    await accounts(redis_client).create("weak", "secret")
    await ours.create("without", "")
    hashed: list[bytes] = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **options: Any) -> bytes:
        hashed.append(password)
        return scrypt(password, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for login in ("strong", "weak", "without", "unknown", "rhoadmin", "\udce9"):
        hashed.clear()
        assert await ours.login(login, "wrong", login) is None
        assert hashed == [b"wrong"]
    for login in ("strong", "unknown"):
        hashed.clear()
        assert await ours.login(login, "", login) is None
        assert hashed == [b""]
    hashed.clear()
    assert await ours.login("rhoadmin", "configured", "b") is not None
    assert len(hashed) == 1


async def test_passwords_are_hashed_off_the_loop_in_threads_of_their_own(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = accounts(redis_client, owns_store=True)
    threads: set[str] = set()
    scrypt = hashlib.scrypt

    def noted(password: bytes, **options: Any) -> bytes:
        threads.add(threading.current_thread().name.rpartition("_")[0])
        return scrypt(password, **options)

    monkeypatch.setattr(hashlib, "scrypt", noted)
    await ours.create("bob", "secret")
    await asyncio.gather(*(ours.login("bob", "wrong", f"client{number}") for number in range(4)))
    assert threads == {"password-hash"}


async def test_a_correct_login_succeeds_while_many_clients_guess(redis_client: Redis) -> None:
    """Guesses at the same account from forty clients, more than are checked meanwhile; its owner comes after them."""
    ours = accounts(redis_client, owns_store=True)
    await ours.create("bob", "secret")
    flood = [
        asyncio.ensure_future(ours.login("bob", f"guess{number}", f"client{number % 40}"))
        for number in range(400)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        user = await ours.login("bob", "secret", "home")
    answered = sum(one.done() for one in flood)
    for one in flood:
        one.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    await ours.close()
    assert user is not None
    assert answered < 100, "the owner did not wait until the flood was over"


async def test_many_tokens_are_looked_up_in_few_round_trips(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    await redis_client.mset(
        {
            "user:admin:rho__id": "admin",
            "user:admin:admin": "1",
            "user:bob:rho__id": "bob",
            "api_token:t-admin:rho__id": "t-admin",
            "api_token:t-admin:user_id": "admin",
            "api_token:t-bob:rho__id": "t-bob",
            "api_token:t-bob:user_id": "bob",
            "api_token:t-nobody:rho__id": "t-nobody",
        }
    )
    before = (await redis_client.info("stats"))["total_commands_processed"]
    tokens = ["t-bob", "", *(f"invented{n}" for n in range(500)), "\udce9", "t-admin", TOKEN, "t-nobody"]
    found = await ours.token_roles(tokens)
    after = (await redis_client.info("stats"))["total_commands_processed"]
    assert [found[0], *found[-3:]] == [TokenRole.OTHER, TokenRole.ADMIN, TokenRole.ADMIN, TokenRole.OTHER]
    assert set(found[1:-3]) == {TokenRole.MISSING}
    assert after - before <= 4


async def test_a_recently_valid_token_is_looked_up_on_the_reserved_connection(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    """Also while all others are in use."""
    async with (
        with_bounded_pool(store_client(redis_server.socket), 1) as shared,
        shared.pipeline() as pipe,
    ):
        ours = Accounts(
            shared, api_token=Secret(TOKEN), admin_password=None, owns_store=False, reserved=redis_client
        )
        await pipe.watch("key")  # takes the only connection
        async with asyncio.timeout(30):
            assert await ours.token_role(TOKEN) is TokenRole.ADMIN


@pytest.mark.parametrize("damaged", [b"", b"zz" * 32, b"ab" * 15, b"\xff" * 64, b"ab" * 33])
async def test_a_damaged_session_secret_is_replaced(redis_client: Redis, damaged: bytes) -> None:
    await redis_client.set(SESSION_HMAC, damaged)
    found = await asyncio.gather(*(accounts(redis_client).session_secret() for _ in range(5)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert await redis_client.get(SESSION_HMAC) == found[0].hex().encode()


async def test_a_damaged_counter_fails_no_change(redis_client: Redis) -> None:
    for name in ("user:count", "client:count"):
        await redis_client.set(name, "not a number")
    users = accounts(redis_client)
    await users.create("bob", "secret")
    client_id = await Clients(redis_client).create("bob", {"device_pin": "t"})
    await Clients(redis_client).delete("bob", client_id)
    await users.delete("bob")
    assert await users.user("bob") is None


async def test_the_admin_is_never_created(redis_client: Redis) -> None:
    known = accounts(redis_client, admin_password="hard to guess")
    with pytest.raises(RecordRefused, match="Record already exists for 'rhoadmin'"):
        await known.create("rhoadmin", "chosen by a stranger")
    with pytest.raises(LoginRefused, match="Unable to authenticate 'rhoadmin'"):
        await known.user_or_new("rhoadmin", "chosen by a stranger", "", 10)
    assert await redis_client.keys("user:*") == []
    admin = await known.login("rhoadmin", "hard to guess", "")
    assert admin is not None
    assert admin.admin
    await known.close()


async def test_the_admin_is_not_among_the_logins(redis_client: Redis) -> None:
    await redis_client.sadd("app:application:users", "rhoadmin", "bob")
    assert await accounts(redis_client).logins() == ["bob"]


async def test_a_creation_that_redis_refuses_leaves_no_user(redis_client: Redis) -> None:
    ours = accounts(redis_client)
    await redis_client.set("app:application:users", "a key of another type")
    with pytest.raises(StoreDown):
        await ours.create("bob", "secret")
    assert await redis_client.keys("user:*") == []
    await redis_client.delete("app:application:users")
    await ours.create("bob", "secret")
    assert await ours.logins() == ["bob"]


async def test_a_change_of_a_user_that_is_deleted_meanwhile_writes_nothing(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = accounts(redis_client, owns_store=True)
    hash_strong = passwords.hash_strong

    def hash_while_the_user_is_deleted(password: str) -> passwords.PasswordHash:
        asyncio.run_coroutine_threadsafe(ours.delete("bob"), loop).result()
        return hash_strong(password)

    loop = asyncio.get_running_loop()
    for change in ("login", "update"):
        await accounts(redis_client).create("bob", "secret")
        with monkeypatch.context() as patch:
            patch.setattr(passwords, "hash_strong", hash_while_the_user_is_deleted)
            if change == "login":
                assert await ours.login("bob", "secret", "a") is None
            else:
                with pytest.raises(NotFound):
                    await ours.update("bob", {"new_password": "other"})
        assert await redis_client.keys("user:bob:*") == []
    await ours.close()


async def test_deleting_a_user_keeps_clients_that_another_user_has_registered(redis_client: Redis) -> None:
    """`moved` moved before the deletion, with the set of the earlier user unchanged; `moving` moves meanwhile."""
    clients = Clients(redis_client)

    class Moving:
        """The mailbox in another Redis, which the deletion waits for."""

        async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
            touched.extend(dropped)
            await clients.register("eve", "moving", {"device_pin": "of eve"})

    touched: list[str] = []
    ours = Accounts(
        redis_client, api_token=Secret(TOKEN), admin_password=None, owns_store=False, mailbox=Moving()
    )
    for login in ("bob", "eve"):
        await ours.create(login, "secret")
    for client_id in ("own", "moved", "moving"):
        await clients.register("bob", client_id, {"device_pin": f"pin of {client_id}"})
    await clients.register("eve", "moved", {"device_pin": "waits for eve"})
    await redis_client.sadd("user:bob:clients", "moved")
    await ours.delete("bob")
    assert await clients.of_user("bob") == []
    assert sorted(await clients.of_user("eve")) == ["moved", "moving"]
    pins = [(await clients.show(client_id))["device_pin"] for client_id in ("moved", "moving")]
    assert pins == ["waits for eve", "of eve"]
    assert sorted(touched) == ["pin of moving", "pin of own"]
    with pytest.raises(NotFound):
        await clients.show("own")
