"""`rhopush serve` whole: real workers, the embedded store, and what outlives what."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.asyncio import Redis

from tests.support.gateway import Gateway
from tests.support.rhoconnect import apple, lay_user

RUN = "import sys; from gateway.commands import main; sys.exit(main())"

StartGateway = Callable[..., Awaitable[Gateway]]


def store_of(gateway: Gateway) -> Redis:
    return Redis(unix_socket_path=str(gateway.data_dir / "valkey" / "valkey.sock"))


async def store_pid(gateway: Gateway) -> int:
    async with store_of(gateway) as redis:
        return int((await redis.info("server"))["process_id"])


async def test_it_serves_drains_and_ends_with_0(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=2)
    store = await store_pid(gateway)
    assert len(gateway.workers) == 2
    answer = await gateway.ping("nobody", message="hello")
    assert (answer.status, answer.body, len(answer.ping_id)) == (200, b"", 32)
    assert await gateway.stop() == 0
    assert not Path(f"/proc/{store}").exists()


async def test_after_kill_9_of_the_supervisor_the_store_is_adopted_with_its_data(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(workers=2)
    async with store_of(gateway) as redis:
        await lay_user(redis, "bob", [apple("ab" * 32)])
    store = await store_pid(gateway)
    gateway.kill(gateway.supervisor)
    await gateway.wait()
    await gateway.start()
    assert await store_pid(gateway) == store
    assert (await gateway.request("GET", "/rc/v1/users")).json() == ["bob"]
    assert await gateway.stop() == 0


async def test_a_store_that_was_killed_is_revived_and_pings_go_on(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    first = await store_pid(gateway)
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(30):
        while (await gateway.ping("nobody", message="again")).status != 200:
            await asyncio.sleep(0.05)
    assert await store_pid(gateway) != first
    assert await gateway.stop() == 0


async def test_a_port_that_is_taken_is_one_line_and_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUN, "serve", "--port", str(port)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (1, b"")
    last = err.decode().splitlines()[-1]
    assert last == f"rhopush serve: cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_the_token_is_made_for_a_gateway_that_was_given_none(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, app={"api_token": None})
    async with gateway:
        gateway.token = (gateway.data_dir / "api_token").read_text().strip()
        assert (await gateway.ping("nobody", message="hello")).status == 200
        gateway.token = "another"
        assert (await gateway.ping("nobody", message="hello")).status == 422
        assert await gateway.stop() == 0
    assert (await asyncio.to_thread(gateway.log.read_text)).count("hush") == 0
