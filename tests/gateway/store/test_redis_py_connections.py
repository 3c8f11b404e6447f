"""redis-py connections that omit the part of a login that Redis refuses, and that keep cancellations."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from gateway.errors import StoreDown
from gateway.store import authentication
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.errors import RedisCommands
from tests.gateway.store.test_authentication import PASSWORD, QUOTED, connected
from tests.support.redis import KINDS, RedisServer


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


async def test_a_connection_that_comes_back_begins_with_the_user(server: RedisServer) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://late:{QUOTED}@"))
    async with client(address, connections_max=1) as redis:
        ask = RedisCommands(redis)
        assert await ask("ACL", "WHOAMI") == b"default"
        await ask("ACL", "SETUSER", "late", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        await ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
        with contextlib.suppress(StoreDown):  # the end of the old connection
            await ask("PING")
        assert await ask("ACL", "WHOAMI") == b"late"


async def test_a_connection_without_a_name_stands(server: RedisServer) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", "unix://named:pw@"))
    assert await connected(address) == b"named"


async def test_a_cancelled_task_ends_at_whichever_turn_of_the_loop_it_is_cancelled(
    server: RedisServer,
) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://:{PASSWORD}@"))

    async def send_for_ever() -> None:
        while True:
            await redis.ping()

    async with client(address) as redis:
        await redis.ping()
        for turns in range(100):
            task = asyncio.create_task(send_for_ever())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=5)
            assert task.cancelled(), f"cancelled after {turns} turns"
        assert await redis.ping()
