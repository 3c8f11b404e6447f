"""`rhopush serve` as a process: real workers, the embedded store, and kills of either."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import apple, lay_user

RUN = "import sys; from gateway.cli import main; sys.exit(main())"

StartGateway = Callable[..., Awaitable[Gateway]]


def store_of(gateway: Gateway) -> Redis:
    return store_client(gateway.data_dir / "valkey" / "valkey.sock")


async def store_pid(gateway: Gateway) -> int:
    async with store_of(gateway) as redis:
        return int((await redis.info("server"))["process_id"])


async def test_it_serves_drains_and_ends_with_0(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=2, fresh=True)
    store = await store_pid(gateway)
    assert len(gateway.workers) == 2
    answer = await gateway.ping("nobody", message="hello")
    assert (answer.status, answer.body, len(answer.ping_id)) == (200, b"", 32)
    assert await gateway.stop() == 0
    assert not Path(f"/proc/{store}").exists()


async def test_at_sigterm_each_accepted_ping_gets_its_verdict(
    start_gateway: StartGateway, redis_address: str, redis_client: Redis
) -> None:
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        apns.faults.add("delay=300")
        settings = provider_settings(apns, fcm)
        gateway = await start_gateway(settings, app={"redis": redis_address}, fresh=True)
        ids = [(await gateway.ping("bob", message=f"ping {n}")).ping_id for n in range(20)]
        await apns.received.wait(1)
        assert await gateway.stop() == 0
        assert len(apns.received) == len(ids)
    assert await redis_client.xlen(keys.PINGS) == 0


async def test_after_kill_9_of_the_supervisor_the_store_is_adopted_with_its_data(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(workers=2, fresh=True)
    async with store_of(gateway) as redis:
        await lay_user(redis, "bob", [apple("ab" * 32)])
    store = await store_pid(gateway)
    gateway.kill(gateway.supervisor)
    await gateway.wait()
    await gateway.start()
    assert await store_pid(gateway) == store
    assert (await gateway.request("GET", "/rc/v1/users")).json() == ["bob"]
    assert await gateway.stop() == 0


async def test_a_killed_store_is_restarted_and_pings_continue(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(fresh=True)
    first = await store_pid(gateway)
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(30):
        while (await gateway.ping("nobody", message="again")).status != 200:
            await asyncio.sleep(0.05)
    assert await store_pid(gateway) != first
    assert await gateway.stop() == 0


async def refused(folder: Path, *options: str, **environ: str) -> tuple[int | None, list[str]]:
    """The exit status of a gateway that does not get ready, and what it wrote to stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "serve", *options),
        cwd=folder,
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert out == b""
    return process.returncode, err.decode().splitlines()


async def test_a_port_in_use_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = await refused(tmp_path, "--port", str(port))
    assert status == 1
    assert lines[-1] == f"rhopush serve: cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_a_missing_file_of_authorities_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    address = "rediss://127.0.0.1:1?ssl_ca_certs=none.pem"
    status, lines = await refused(tmp_path, "--port", "0", REDIS=address)
    assert status == 2
    said = [line for line in lines if line.startswith("rhopush")]
    assert said == ["rhopush serve: redis: ssl_ca_certs=none.pem: no such file or directory"]


async def test_an_unknown_option_of_an_address_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    assert await refused(tmp_path, REDIS="redis://127.0.0.1:1?foo=1") == (
        2,
        ["rhopush serve: redis: not a Redis address: unknown option 'foo'; redis:// accepts db"],
    )


async def test_a_gateway_without_a_token_generates_one(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, app={"api_token": None}, fresh=True)
    async with gateway:
        gateway.token = (gateway.data_dir / "api_token").read_text().strip()
        assert (await gateway.ping("nobody", message="hello")).status == 200
        gateway.token = "another"
        assert (await gateway.ping("nobody", message="hello")).status == 422
        assert await gateway.stop() == 0
    assert (await asyncio.to_thread(gateway.log.read_text)).count("hush") == 0
