"""`rhopush simulate` as a real process: ready, credentials that work, recording, faults, its end."""

import asyncio
import json
import signal
import ssl
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import jwt
import pytest

from gateway.settings.loading import load
from tests.gateway.simulators.client import PIN, Client, push

COMMAND = "import sys; from gateway.cli import main; sys.exit(main())"


@asynccontextmanager
async def simulate(*arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "simulate", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: Process) -> tuple[Path, dict[str, str]]:
    """The path of the settings that it wrote, and its addresses."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        settings = (await process.stdout.readline()).decode().split()
        line = (await process.stdout.readline()).decode().split()
    assert (settings[0], line[0]) == ("settings", "ready")
    return Path(settings[1]), dict(word.split("=") for word in line[1:])


async def test_a_gateways_settings_are_written_and_a_push_is_shown_and_recorded(tmp_path: Path) -> None:
    record = tmp_path / "pushes.jsonl"
    arguments = [
        "--record",
        str(record),
        "--credentials",
        str(tmp_path / "keys"),
        "--fault",
        "apns:410=5:dead",
    ]
    async with simulate(*arguments) as process:
        path, addresses = await ready(process)
        settings = load(path, "development", {})
        apns = settings.apns
        assert f"{apns.server}:{apns.port}" == addresses["apns"]
        assert settings.fcm.endpoint == f"https://{addresses['fcm']}"
        assert apns.key_file is not None
        assert apns.ca_file is not None
        assert (path.parent.stat().st_mode & 0o777, apns.key_file.stat().st_mode & 0o777) == (0o700, 0o600)

        context = ssl.create_default_context(cafile=apns.ca_file)
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Client, apns.server, apns.port, ssl=context)
        claims = {"iss": apns.team_id, "iat": int(time.time())}
        token = jwt.encode(claims, apns.key_file.read_bytes(), "ES256", {"kid": apns.key_id})
        assert (await client.send(push(token))).status == 200
        assert (await client.send(push(token, "dead"))).status == 410
        transport.abort()
        await client.lost

        process.send_signal(signal.SIGTERM)
        output, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        assert output.decode().splitlines() == [
            "apns abababab… 'hi'",
            "apns dead      410 Unregistered",
            "apns 2 requests, 1 accepted",
            "fcm 0 requests",
        ]
    tokens = [json.loads(line)["token"] for line in record.read_text().splitlines()]
    assert tokens == [PIN, "dead"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_without_a_folder_the_keys_are_removed_at_the_end(number: signal.Signals) -> None:
    async with simulate() as process:
        path, _ = await ready(process)
        assert path.exists()
        process.send_signal(number)
        assert await process.wait() == 0
        assert not path.parent.exists()


@pytest.mark.parametrize("fault", ["410", "apns:411", "hms:410", "apns:410:when=1"])
async def test_an_invalid_fault_is_one_line_and_exit_status_2(fault: str) -> None:
    async with simulate("--fault", fault) as process:
        output, errors = await process.communicate()
        assert (process.returncode, output) == (2, b"")
        assert errors.decode().startswith("rhopush simulate: fault ")
        assert errors.count(b"\n") == 1


async def test_a_port_in_use_is_one_line_and_exit_status_1() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with simulate("--apns-port", str(port)) as process:
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert errors.count(b"\n") == 1
        assert str(port) in errors.decode()
    server.close()
