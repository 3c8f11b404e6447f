"""Pings as Resque jobs: the client's login at Redis."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from gateway.client import PingError
from gateway.client.resque import push
from gateway.store import authentication
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.errors import RedisCommands
from tests.gateway.store.test_authentication import PASSWORD, QUOTED
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


@pytest.mark.parametrize(("login", "done"), [(f"redistogo:{QUOTED}", True), ("redistogo:wrong", False)])
async def test_a_job_is_appended_with_the_same_rules(server: RedisServer, login: str, done: bool) -> None:
    address = RedisAddress.parse(server.address.replace("unix://", f"unix://{login}@"))
    if not done:
        with pytest.raises(PingError):
            await asyncio.to_thread(push, address, {})
        return
    await asyncio.to_thread(push, address, {"user_id": "bob"})
    async with client(RedisAddress.parse(server.address.replace("unix://", f"unix://:{QUOTED}@"))) as redis:
        assert await RedisCommands(redis)("LLEN", "resque:queue:ping") == 1


async def test_a_job_has_resques_own_form(redis_address: str, redis_client: Redis) -> None:
    address = RedisAddress.parse(redis_address)
    await asyncio.to_thread(push, address, {"user_id": "bob", "badge": 5})
    job = b'{"class":"Rhoconnect::PingJob","args":[{"user_id":"bob","badge":5}]}'
    assert await redis_client.lrange("resque:queue:ping", 0, -1) == [job]
    assert await redis_client.smembers("resque:queues") == {b"ping"}


def test_a_job_that_no_worker_could_read_is_refused() -> None:
    with pytest.raises(PingError, match="the parameters are no JSON"):
        push(RedisAddress.parse("127.0.0.1:1"), {"message": float("nan")})
