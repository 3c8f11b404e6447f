"""Clients that foreign generators make from the OpenAPI document, in TypeScript and in Go: they compile and ping."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.clients.senders import HERE
from tests.support.gateway import ROOT, TOKEN
from tests.support.redis import RedisServer
from tests.support.requirements import need_program
from tests.support.worker import Worker, working

CACHE = ROOT / "build" / "clients"
"""Packages of npm stay there between runs. Go has a cache of its own."""

pytestmark = pytest.mark.timeout(600)  # the generators are downloaded and compiled by the first run


async def run(folder: Path, *command: str, **environ: str) -> str:
    """The output of a program that ended successfully."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=pipe, stderr=pipe, env={**os.environ, **environ}
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{command}\n{out.decode()}\n{err.decode()}"
    return out.decode()


async def write_document(gateway: Worker, folder: Path) -> None:
    """Store the document of a gateway in `openapi.json`."""
    async with aiohttp.ClientSession() as session, session.get(gateway.url + "/openapi.json") as response:
        (folder / "openapi.json").write_bytes(await response.read())


@pytest.fixture
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    with RedisServer("valkey") as server:
        async with working(tmp_path_factory.mktemp("g"), server.address, {}) as worker:
            yield worker


def assert_output(output: str) -> None:
    """Assert that the ping was accepted, its report was read, and the refusal of the second ping was understood."""
    status, ping_id, reported_id, code = output.split()
    assert (status, code) == ("200", "invalid_field")
    assert len(ping_id) == 32
    assert ping_id == reported_id


async def packages_of_npm(source: Path) -> Path:
    """The installed packages of the lock file."""
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    installed = CACHE / lock
    if not (installed / "complete").exists():
        shutil.rmtree(installed, ignore_errors=True)
        installed.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, installed)
        npm = need_program("npm", "npm")
        await run(installed, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        (installed / "complete").touch()
    return installed / "node_modules"


async def test_a_typescript_client_pings(gateway: Worker, tmp_path: Path) -> None:
    node, source = need_program("node", "nodejs"), HERE / "typescript"
    packages = await packages_of_npm(source)
    for name in ("package.json", "tsconfig.json", "ping.ts"):
        shutil.copy(source / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    await write_document(gateway, tmp_path)
    generator = packages / "openapi-typescript" / "bin" / "cli.js"
    await run(tmp_path, node, str(generator), "openapi.json", "--output", "api.ts")
    await run(tmp_path, node, str(packages / "typescript" / "bin" / "tsc"), "--project", ".")
    assert_output(await run(tmp_path, node, "ping.js", gateway.url, TOKEN, "bob"))


async def test_a_go_client_pings(gateway: Worker, tmp_path: Path) -> None:
    go, source = need_program("go", "golang-go"), HERE / "go"
    for name in ("go.mod", "go.sum", "main.go"):
        shutil.copy(source / name, tmp_path)
    await write_document(gateway, tmp_path)
    (tmp_path / "api").mkdir()
    options = ("-generate", "types,client", "-package", "api", "-o", "api/api.go", "openapi.json")
    await run(tmp_path, go, "tool", "oapi-codegen", *options)
    await run(tmp_path, go, "build", "-o", "ping", ".")
    assert_output(await run(tmp_path, str(tmp_path / "ping"), gateway.url, TOKEN, "bob"))
