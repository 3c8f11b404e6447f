"""AUTH with credentials that do not match the server: both kinds of clients connect as redis-rb does, and warn."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.client import PingError
from gateway.client.resque import push
from gateway.errors import StoreRefused
from gateway.store import authentication
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.connection import RedisConnection
from gateway.store.errors import RedisCommands
from tests.support.redis import KINDS, RedisServer

PASSWORD: Final = "pa:ss w%rd"
QUOTED: Final = "pa%3Ass%20w%25rd"


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A store with a password for the default user."""
    authentication._warned.clear()
    with RedisServer(request.param) as one:
        with one.client() as admin:
            admin.execute_command("ACL", "SETUSER", "real", "on", f">{PASSWORD}2", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", "named", "on", ">pw", "~*", "&*", "+@all", "-client")
            admin.config_set("requirepass", PASSWORD)
        yield one


async def connected(address: RedisAddress) -> bytes:
    """The user's name, as seen through a RedisConnection and redis-py's client."""
    connection = RedisConnection(address, "test", on_push=lambda _: None)
    await connection.open(30)
    names = {await connection.call("ACL", "WHOAMI")}
    await connection.close()
    async with client(address) as redis:
        names.add(await RedisCommands(redis)("ACL", "WHOAMI"))
    (name,) = names
    return bytes(name)


async def test_a_made_up_user_is_left_out_and_named_once(server: RedisServer) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://redistogo:{QUOTED}@"))
    with capture_logs() as said:
        assert await connected(address) == b"default"
        assert await connected(address) == b"default"
    (warning,) = [line for line in said if line["log_level"] == "warning"]
    assert (warning["event"], warning["user"]) == ("redis_user_ignored", "redistogo")
    assert PASSWORD not in str(warning)


async def test_the_password_of_the_default_user_fits_any_name(server: RedisServer) -> None:
    """redis-rb 4.8 also connects and warns in this case, even if the user exists."""
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://real:{QUOTED}@"))
    with capture_logs() as said:
        assert await connected(address) == b"default"
    assert [line["event"] for line in said] == ["redis_user_ignored"]


@pytest.mark.parametrize(("login", "name"), [(f":{QUOTED}", b"default"), (f"real:{QUOTED}2", b"real")])
async def test_matching_credentials_cause_no_warning(server: RedisServer, login: str, name: bytes) -> None:
    with capture_logs() as said:
        assert (
            await connected(RedisAddress.parse(server.address.replace("unix://", f"unix://{login}@"))) == name
        )
    assert said == []


@pytest.mark.parametrize("login", ["redistogo:wrong", ":wrong", "real:wrong"])
async def test_a_wrong_password_is_refused_at_once_in_redis_words(server: RedisServer, login: str) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://{login}@"))
    with pytest.raises(StoreRefused, match="WRONGPASS"):
        await RedisConnection(address, "test").open()  # without an end
    async with client(address) as redis:
        with pytest.raises(StoreRefused, match="Redis refuses: WRONGPASS") as caught:
            await RedisCommands(redis)("PING")
    assert "wrong" not in str(caught.value)


async def test_an_unneeded_password_is_reported(server: RedisServer) -> None:
    async with client(RedisAddress.parse(server.address)) as redis:
        with pytest.raises(StoreRefused, match="Redis refuses: NOAUTH"):
            await RedisCommands(redis)("GET", "a")


async def test_a_password_that_the_server_does_not_have(redis_address: str) -> None:
    authentication._warned.clear()
    address = RedisAddress.parse(redis_address.replace("unix://", "unix://:pw@"))
    with capture_logs() as said:
        assert await connected(address) == b"default"
    (warning,) = [line for line in said if line["log_level"] == "warning"]
    assert warning["event"] == "redis_password_ignored"


@pytest.fixture
async def open_to_all(redis_client: Redis, redis_address: str) -> AsyncIterator[str]:
    """A store whose default user has no password, with one user that has."""
    await redis_client.acl_setuser("real", enabled=True, passwords=["+right"], keys=["*"], commands=["+@all"])
    yield redis_address
    await redis_client.acl_deluser("real")


@pytest.mark.parametrize("login", ["real:wrong", "redistogo:wrong"])
async def test_a_named_user_never_becomes_the_default_user_without_a_password(
    open_to_all: str, login: str
) -> None:
    """redis-rb 4.8 raises WRONGPASS in both cases."""
    address = RedisAddress.parse(open_to_all.replace("unix://", f"unix://{login}@"))
    with pytest.raises(StoreRefused, match="WRONGPASS"):
        await RedisConnection(address, "test").open()
    async with client(address, connections_max=1) as redis:
        for _ in range(3):  # on one connection, which begins with the user each time
            with pytest.raises(StoreRefused, match="Redis refuses: WRONGPASS"):
                await RedisCommands(redis)("PING")
    with pytest.raises(PingError, match="refuses the user or password"):
        await asyncio.to_thread(push, address, {})


async def test_the_words_for_a_redis_before_6() -> None:
    assert authentication.password_alone("ERR wrong number of arguments for 'auth' command")
    assert authentication.password_alone("ERR wrong number of arguments for 'AUTH' command")
    assert authentication.needs_none("ERR Client sent AUTH, but no password is set")
    assert not authentication.password_alone("NOAUTH Authentication required.")
