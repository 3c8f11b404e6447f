"""AUTH through TLS, through a Sentinel, and to a Redis without users: the same rules apply everywhere."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreRefused
from gateway.simulators import Authority
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.connection import RedisConnection
from gateway.store.errors import RedisCommands
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer

PASSWORD: Final = "hosted"
LOGINS: Final = {"redistogo:hosted": b"default", "real:right": b"real", ":hosted": b"default"}
REFUSED: Final = ("real:wrong", "redistogo:wrong", ":wrong")


async def names(address: RedisAddress) -> set[bytes]:
    """The user's name, as seen through a RedisConnection and redis-py's client."""
    connection = RedisConnection(address, "test", on_push=lambda _: None)
    await connection.open(5)
    found = {bytes(await connection.call("ACL", "WHOAMI"))}
    await connection.close()
    async with client(address) as redis:
        found.add(bytes(await RedisCommands(redis)("ACL", "WHOAMI")))
        await close_sentinels(redis)
    return found


async def assert_refused(address: RedisAddress, words: str = "WRONGPASS") -> None:
    """Both kinds of clients get Redis' own error without further attempts."""
    with pytest.raises(StoreRefused, match=words):
        await RedisConnection(address, "test").open()
    async with client(address) as redis:
        with pytest.raises(StoreRefused, match=words):
            await RedisCommands(redis)("PING")
        await close_sentinels(redis)


async def close_sentinels(redis: Redis) -> None:
    """Close the clients of the Sentinels, which redis-py leaves open."""
    manager = getattr(redis.connection_pool, "sentinel_manager", None)
    for asked in [] if manager is None else manager.sentinels:
        await asked.aclose()


def restrict(server: RedisServer, *, nopass: bool) -> None:
    """Give the server a user and, unless `nopass`, its default user a password."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "real", "on", ">right", "~*", "&*", "+@all")
        if not nopass:
            admin.config_set("requirepass", PASSWORD)


# -- TLS ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tls_before(server: RedisServer, folder: Path) -> AsyncIterator[str]:
    """The TLS end in front of a server; the part of an address after the login."""
    authority = Authority()
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(authority.ca_pem)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    writer.write(data)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(server.socket))
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server_context([]))
    async with front:
        yield f"127.0.0.1:{front.sockets[0].getsockname()[1]}/0?ssl_ca_certs={ca_file}"


@pytest.mark.parametrize("kind", KINDS)
async def test_each_login_works_through_tls(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind) as server:
        restrict(server, nopass=False)
        async with tls_before(server, tmp_path) as place:
            for login, name in LOGINS.items():
                assert await names(RedisAddress.parse(f"rediss://{login}@{place}")) == {name}
            for login in REFUSED:
                await assert_refused(RedisAddress.parse(f"rediss://{login}@{place}"))


async def test_a_default_user_without_a_password_refuses_other_logins_through_tls(tmp_path: Path) -> None:
    with RedisServer("valkey") as server:
        restrict(server, nopass=True)
        async with tls_before(server, tmp_path) as place:
            for login in ("real:wrong", "redistogo:hosted"):
                await assert_refused(RedisAddress.parse(f"rediss://{login}@{place}"))


# -- Sentinel -------------------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RedisServer, str]]:
    """A master, and the part of an address after the login."""
    master, port = free_port(), free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"sentinel monitor mymaster 127.0.0.1 {master} 1\n")
    with (
        RedisServer(request.param, options={"port": str(master)}) as server,
        RedisServer(request.param, options={"port": str(port)}, sentinel=file),
    ):
        yield server, f"127.0.0.1:{port}/mymaster/0"


async def test_each_login_works_through_a_sentinel(watched: tuple[RedisServer, str]) -> None:
    server, place = watched
    restrict(server, nopass=False)
    for login, name in LOGINS.items():
        assert await names(RedisAddress.parse(f"redis+sentinel://{login}@{place}")) == {name}
    for login in REFUSED:
        await assert_refused(RedisAddress.parse(f"redis+sentinel://{login}@{place}"))


async def test_a_default_user_without_a_password_refuses_other_logins_through_a_sentinel(
    watched: tuple[RedisServer, str],
) -> None:
    server, place = watched
    restrict(server, nopass=True)
    for login in ("real:wrong", "redistogo:hosted"):
        await assert_refused(RedisAddress.parse(f"redis+sentinel://{login}@{place}"))


# -- Redis before 6 -------------------------------------------------------------------------------------------

WRONG_NUMBER: Final = b"-ERR wrong number of arguments for 'auth' command\r\n"
INVALID: Final = b"-ERR invalid password\r\n"
NONE_SET: Final = b"-ERR Client sent AUTH, but no password is set\r\n"


@contextlib.asynccontextmanager
async def redis_5(password: bytes) -> AsyncIterator[str]:
    """A server that answers AUTH with the texts of Redis 5, and everything else with OK; its host and port. b"": it
    has no password."""
    writers: set[asyncio.StreamWriter] = set()

    def answer(words: list[bytes]) -> bytes:
        if words[0].upper() != b"AUTH":
            return b"+OK\r\n"
        if len(words) != 2:
            return WRONG_NUMBER
        if not password:
            return NONE_SET
        return b"+OK\r\n" if words[1] == password else INVALID

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n"):
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(answer(words))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.close()


@pytest.mark.parametrize("login", [":hosted", "redistogo:hosted"])
async def test_a_redis_without_users_accepts_the_password_alone(login: str) -> None:
    async with redis_5(b"hosted") as place:
        address = RedisAddress.parse(f"redis://{login}@{place}")
        connection = RedisConnection(address, "test")
        await connection.open(5)
        assert await connection.call("PING") == b"OK"
        await connection.close()
        async with client(address) as redis:
            assert await RedisCommands(redis)("GET", "a") == b"OK"


@pytest.mark.parametrize(
    ("password", "login", "words"),
    [
        (b"hosted", "redistogo:wrong", "invalid password"),
        (b"hosted", ":wrong", "invalid password"),
        (b"", "redistogo:hosted", "no password is set"),
    ],
)
async def test_a_refusal_has_the_text_of_a_redis_without_users(
    password: bytes, login: str, words: str
) -> None:
    async with redis_5(password) as place:
        await assert_refused(RedisAddress.parse(f"redis://{login}@{place}"), words)
