"""`rhopush rps` in the place of rhoconnect-push: a real process over what that left in Redis."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from tests.gateway.rhoconnect_push.harness import APP, old_id, rhoconnect
from tests.support.gateway import ROOT
from tests.support.redis import RedisServer

BUDGET_S = 30.0
RUN = "import sys; from gateway.cli import main; sys.exit(main())"


@asynccontextmanager
async def rhoconnect_push(folder: Path, *options: str) -> AsyncIterator[str]:
    """The command, ready; its URL. It must end with 0."""
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", RUN, "rps", "--host", "127.0.0.1", "--data-dir", str(folder / "data")),
            *options,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BUDGET_S):
            word, _, url = (await process.stdout.readline()).decode().strip().partition(" ")
        assert word == "ready", (folder / "log").read_text()
        yield url
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(BUDGET_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("how", ["config", "options"])
async def test_it_serves_the_data_of_rhoconnect_push(
    tmp_path: Path, redis_client: Redis, redis_address: str, how: str
) -> None:
    instance, token = old_id("instance", "usermike"), old_id("token", APP)
    message = json.dumps({"id": 7, "token": token, "data": {"alert": "still here"}})
    await redis_client.sadd(f"reg:{instance}", json.dumps({"token": token, "appname": APP}))
    await redis_client.set(f"tok:{token}", instance)
    await redis_client.set(f"cnt:{instance}", 7)
    await redis_client.zadd(f"que:{instance}", {message: 7})
    async with rhoconnect() as judge:
        port = judge.url.rpartition(":")[2]
        options = ["-p", "0", "-r", redis_address, "-e", port, "-i", "127.0.0.1"]
        if how == "config":
            config = {"httpSecure": "n", "rcSecure": "n", "ansServerPort": "0", "redisToGoUrl": redis_address}
            for whose, path in (("userAuth", "app"), ("appAuth", "system")):
                config |= {f"{whose}Host": "127.0.0.1", f"{whose}Port": port}
                config |= {f"{whose}Url": f"/rc/v1/{path}/rps_login"}
            (tmp_path / "config.json").write_text(json.dumps(config))
            options = ["-c", str(tmp_path / "config.json")]
        async with rhoconnect_push(tmp_path, *options) as url, aiohttp.ClientSession(url) as session:
            headers = {"Cookie": f"instance={old_id('cookie', instance)}"}
            answer = await session.get(f"/nextMessage/{instance}", headers=headers)
            assert (answer.status, await answer.json()) == (200, json.loads(message))
            posted = await session.post(
                f"/messageQueue/{token}",
                data=b'{"data":{"alert":"new"}}',
                headers={
                    "Content-Type": "application/json",
                    "Authorization": "Basic YXBwMW1pa2U6cHdk",  # app1mike:pwd
                },
            )
            assert posted.status == 204
            answer = await session.get(f"/nextMessage/{instance}?lastMessage=7", headers=headers)
            assert await answer.json() == {"id": 8, "token": token, "data": {"alert": "new"}}
        assert judge.asked[0][0] == "/rc/v1/system/rps_login"


@pytest.mark.parametrize("how", ["option", "environment"])
async def test_its_metrics_have_a_separate_listener(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--metrics-port", "0"] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("RHOPUSH_METRICS_PORT", "0")
    with RedisServer("valkey") as server:
        await assert_metrics(tmp_path, "-p", "0", "-r", server.address, *more)


async def assert_metrics(tmp_path: Path, *options: str) -> None:
    async with rhoconnect_push(tmp_path, *options), aiohttp.ClientSession() as session:
        (line,) = [
            line for line in (tmp_path / "log").read_text().splitlines() if "metrics_listening" in line
        ]
        async with session.get(json.loads(line)["url"]) as answer:
            text = await answer.text()
            assert "rhopush_rhoconnect_push_waiting_devices 0.0" in text.splitlines()
            assert 'rhopush_gc_pause_seconds_count{generation="2"}' in text


async def refusal(*options: str, **environ: str) -> list[str]:
    """The lines of stderr that the command addresses to its user; it must end with 2."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "rps", *options),
        cwd=ROOT,
        env={**os.environ, **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(BUDGET_S):
        _, said = await process.communicate()
    assert process.returncode == 2
    return [line for line in said.decode().splitlines() if not line.startswith("{")]


async def test_a_wrong_metrics_port_ends_with_2(tmp_path: Path) -> None:
    found = await refusal("--data-dir", str(tmp_path), RHOPUSH_METRICS_PORT="70000")
    assert found == ["rhopush rps: RHOPUSH_METRICS_PORT: expected a port, found '70000'"]


async def test_a_wrong_config_ends_with_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    found = await refusal("-c", str(tmp_path / "config.json"))
    assert found == [f"rhopush rps: {tmp_path}/config.json: expected a JSON object"]


async def test_an_error_of_a_worker_begins_with_the_name_of_the_command(tmp_path: Path) -> None:
    with RedisServer("valkey", options={"cluster-enabled": "yes"}) as server:
        (line,) = await refusal("-p", "0", "-r", server.address, "--data-dir", str(tmp_path))
    assert line.startswith("rhopush rps: ")
    assert "cluster mode" in line
