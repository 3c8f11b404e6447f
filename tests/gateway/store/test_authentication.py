"""AUTH with credentials that do not quite fit: both kinds of clients connect as redis-rb does, and warn."""

from collections.abc import Iterator
from typing import Final

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreRefused
from gateway.store import authentication
from gateway.store.address import Address
from gateway.store.asking import Asker
from gateway.store.link import Link
from gateway.store.redis import client
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


async def connected(address: Address) -> bytes:
    """The user's name, as a link and as redis-py's client see it."""
    link = Link(address, "test", on_push=lambda _: None)
    await link.open(30)
    names = {await link.call("ACL", "WHOAMI")}
    await link.close()
    async with client(address) as redis:
        names.add(await Asker(redis)("ACL", "WHOAMI"))
    (name,) = names
    return bytes(name)


async def test_a_made_up_user_is_left_out_and_named_once(server: RedisServer) -> None:
    address = Address.parse(server.address.replace("unix://", f"unix://redistogo:{QUOTED}@"))
    with capture_logs() as said:
        assert await connected(address) == b"default"
        assert await connected(address) == b"default"
    (warning,) = [line for line in said if line["log_level"] == "warning"]
    assert (warning["event"], warning["user"]) == ("redis_user_ignored", "redistogo")
    assert PASSWORD not in str(warning)


@pytest.mark.parametrize(("login", "name"), [(f":{QUOTED}", b"default"), (f"real:{QUOTED}2", b"real")])
async def test_what_fits_is_not_warned_of(server: RedisServer, login: str, name: bytes) -> None:
    with capture_logs() as said:
        assert await connected(Address.parse(server.address.replace("unix://", f"unix://{login}@"))) == name
    assert said == []


@pytest.mark.parametrize("login", ["redistogo:wrong", ":wrong", "real:wrong"])
async def test_a_wrong_password_is_refused_at_once_in_redis_words(server: RedisServer, login: str) -> None:
    address = Address.parse(server.address.replace("unix://", f"unix://{login}@"))
    with pytest.raises(StoreRefused, match="WRONGPASS"):
        await Link(address, "test").open()  # without an end
    async with client(address) as redis:
        with pytest.raises(StoreRefused, match="Redis refuses: WRONGPASS") as caught:
            await Asker(redis)("PING")
    assert "wrong" not in str(caught.value)


async def test_no_password_is_said_so(server: RedisServer) -> None:
    async with client(Address.parse(server.address)) as redis:
        with pytest.raises(StoreRefused, match="Redis refuses: NOAUTH"):
            await Asker(redis)("GET", "a")


@pytest.mark.parametrize("login", [":pw", "redistogo:pw"])
async def test_a_password_that_the_server_does_not_have(redis_address: str, login: str) -> None:
    authentication._warned.clear()
    address = Address.parse(redis_address.replace("unix://", f"unix://{login}@"))
    with capture_logs() as said:
        assert await connected(address) == b"default"
    (warning,) = [line for line in said if line["log_level"] == "warning"]
    assert warning["event"] == "redis_password_ignored"


async def test_a_connection_without_a_name_stands(server: RedisServer) -> None:
    address = Address.parse(server.address.replace("unix://", "unix://named:pw@"))
    assert await connected(address) == b"named"


async def test_the_words_for_a_redis_before_6() -> None:
    assert authentication.password_alone("ERR wrong number of arguments for 'auth' command")
    assert authentication.password_alone("ERR wrong number of arguments for 'AUTH' command")
    assert authentication.needs_none("ERR Client sent AUTH, but no password is set")
    assert not authentication.password_alone("NOAUTH Authentication required.")
