"""The fixtures themselves: what every other test stands on."""

import asyncio
import gc
import os
import signal
import socket
import warnings
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.simulators.authority import Authority
from tests.conftest import StartGateway
from tests.support.event_loop import PatientLoop
from tests.support.order import LONG_FILES, order
from tests.support.redis import RedisServer
from tests.support.rhoconnect import android, apple, lay_admin, lay_user, lay_users


async def test_each_test_begins_with_an_empty_store(redis_client: Redis) -> None:
    assert await redis_client.dbsize() == 0
    await redis_client.set("left", "behind")


async def test_data_of_earlier_tests_is_removed(redis_client: Redis) -> None:
    assert await redis_client.exists("left") == 0


async def test_both_kinds_of_store_are_what_they_say(redis_client: Redis, redis_server: RedisServer) -> None:
    facts = await redis_client.info("server")
    assert facts.get("server_name", "redis") == redis_server.kind
    assert facts["tcp_port"] == 0


async def test_a_device_is_one_key_a_field_and_absent_fields_have_none(redis_client: Redis) -> None:
    await lay_user(redis_client, "bob", [apple("abcd", client_id="c1", phone_id="", port=None)])
    keys = sorted(map(bytes.decode, await redis_client.keys("client:c1:*")))
    fields = "app_id device_pin device_push_type device_type phone_id rho__id user_id"
    assert keys == [f"client:c1:{name}" for name in fields.split()]
    assert await redis_client.get("client:c1:phone_id") == b""
    assert await redis_client.get("client:c1:user_id") == b"bob"
    assert await redis_client.smembers("user:bob:clients") == {b"c1"}
    assert await redis_client.smembers("app:application:users") == {b"bob"}


async def test_many_users_and_an_admin(redis_client: Redis) -> None:
    await lay_users(redis_client, {f"u{n}": [android(f"token{n}")] for n in range(1500)})
    await lay_admin(redis_client, "secret", password="pw")
    assert await redis_client.scard("app:application:users") == 1500
    assert await redis_client.get("client:count") == b"1500"
    assert await redis_client.get("api_token:secret:user_id") == b"rhoadmin"
    assert await redis_client.get("user:rhoadmin:admin") == b"1"


def test_an_append_only_store_keeps_its_data_over_a_restart() -> None:
    with RedisServer("valkey", persist=True, options={"appendfsync": "always"}) as server:
        with server.client() as client:
            client.set("kept", "yes")
        server.kill()
        server.start()
        with server.client() as client:
            assert client.get("kept") == b"yes"


@pytest.mark.parametrize("fresh", [False, True], ids=["forked", "fresh"])
async def test_a_gateway_runs_in_processes_of_its_own(start_gateway: StartGateway, fresh: bool) -> None:
    """A fork has the session, the children and the end of a process that is started in the usual way."""
    gateway = await start_gateway(workers=2, fresh=fresh)
    assert os.getsid(gateway.supervisor) == gateway.supervisor
    assert [os.getpgid(worker) for worker in gateway.workers] == gateway.workers
    commands = {Path(f"/proc/{pid}/cmdline").read_bytes() for pid in gateway.pids}
    assert len(commands) == (2 if fresh else 1)
    assert (await gateway.ping("bob", message="hello")).status == 200
    assert await gateway.stop() == 0
    await gateway.start()
    workers = gateway.workers
    gateway.kill(gateway.supervisor)
    assert await gateway.wait() == -signal.SIGKILL
    async with asyncio.timeout(30):
        while any(map(alive, workers)):  # they end with their supervisor
            await asyncio.sleep(0.01)


async def test_killed_processes_do_not_count_as_running(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=2)
    killed = gateway.workers
    gateway.kill(*killed)
    assert not set(killed) & set(gateway.workers)


async def test_a_forked_gateway_fails_as_a_fresh_one_does(start_gateway: StartGateway) -> None:
    with pytest.raises(AssertionError, match=r"no ready line \(exit status 2\).*\n.*typo"):
        await start_gateway({"typo": 1})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_long_tests_begin_the_stretches_of_all_workers_but_one() -> None:
    files = ["short", LONG_FILES[3], LONG_FILES[0], *["short"] * 10, LONG_FILES[1], LONG_FILES[0]]
    found = order(files, 3)
    assert sorted(found) == list(range(len(files)))
    assert [files[position] for position in found[:3]] == [LONG_FILES[0], LONG_FILES[0], LONG_FILES[3]]
    assert [files[position] for position in found[5:7]] == [LONG_FILES[1], "short"]
    assert {files[position] for position in found[6:]} == {"short"}
    assert [position for position in found if files[position] == "short"] == [0, *range(3, 13)]


def test_long_tests_may_be_more_than_a_stretch_and_workers_than_tests() -> None:
    files = [*LONG_FILES[:4], "short"]
    assert sorted(order(files, 3)) == sorted(order(files, 8)) == list(range(5))
    assert order(files, 1) == list(range(5))
    assert order([], 2) == []


def test_every_long_file_is_there() -> None:
    assert [file for file in LONG_FILES if not (Path(__file__).parents[1] / file).exists()] == []


class Ending(asyncio.Protocol):
    """Closes each connection as soon as its handshake has ended."""

    def __init__(self, made: asyncio.Event) -> None:
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
        self._made.set()


def test_the_end_of_a_loop_waits_for_the_connections_that_close() -> None:
    """Otherwise Python reports an unclosed connection as an error of this test or of a later one."""
    authority = Authority()

    async def run() -> None:
        loop, made = asyncio.get_running_loop(), asyncio.Event()
        context = authority.server_context([])
        server = await loop.create_server(lambda: Ending(made), "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            client = socket.create_connection(("127.0.0.1", port))
            client = await asyncio.to_thread(
                authority.client_context(()).wrap_socket, client, server_hostname="127.0.0.1"
            )
            await made.wait()
        loop.call_later(0.05, client.close)

    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        with asyncio.Runner(loop_factory=PatientLoop) as runner:
            runner.run(run())
        gc.collect()
    assert [str(one.message) for one in reported] == []
