"""Observers do not affect the service: readers of the log that block or are gone, and a data folder in any state.

Each test uses the gateway as it is shipped, and pings it while its log, its disk or its metrics fail.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.gateway import Gateway
from tests.support.redis import KINDS, RedisServer
from tests.support.requirements import missing

StartGateway = Callable[..., Awaitable[Gateway]]
BUDGET_S = 60.0
DROPPED = "rhopush_log_lines_dropped_total"
ACCEPTED = 'rhopush_pings_accepted_total{ingress="http"}'


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def scraped(gateway: Gateway) -> dict[str, float]:
    async with asyncio.timeout(BUDGET_S):
        answer = await gateway.request("GET", "/metrics")
    assert answer.status == 200, answer.body
    return samples(answer.body.decode())


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BUDGET_S):
        while not await true():
            await asyncio.sleep(0.02)


PINGS = 10
"""Pings of `serves`."""


async def serves(gateway: Gateway) -> None:
    """Check that each worker answers pings and health checks (a new connection may reach any)."""
    async with asyncio.timeout(BUDGET_S):
        for _ in range(PINGS):
            assert (await gateway.ping("bob", message="hello")).status == 200
            assert (await gateway.request("GET", "/healthz")).status == 200


async def replaced(gateway: Gateway) -> None:
    """Kill a worker, and wait for its successor."""
    before = set(gateway.workers)
    gateway.kill(next(iter(before)))

    async def all_new() -> bool:
        return len(gateway.workers) == len(before) and set(gateway.workers) != before

    await until(all_new)


class FullPipe:
    """A pipe of one page that is full from the start."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"." * 1023 + b"\n")
        os.set_blocking(self.writer, True)

    def lines_until(self, event: str) -> list[dict[str, Any]]:
        """Read until this event; every line is complete."""
        with open(self.reader, closefd=False) as reader:
            found: list[dict[str, Any]] = []
            for line in reader:
                if not line.startswith("."):
                    found.append(json.loads(line))
                    if found[-1]["event"] == event:
                        break
            return found

    def close(self) -> None:
        for descriptor in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A store outside the data folder. One kind is enough, since no test here depends on it."""
    with RedisServer(KINDS[0]) as server:
        yield server


@pytest.fixture
def full_pipe() -> Iterator[FullPipe]:
    made = FullPipe()
    yield made
    made.close()


async def test_a_stalled_reader_of_the_log_blocks_nothing(
    start_gateway: StartGateway, full_pipe: FullPipe
) -> None:
    gateway = await start_gateway(stderr=full_pipe.writer)
    await serves(gateway)
    os.kill(gateway.supervisor, signal.SIGHUP)
    await replaced(gateway)
    await serves(gateway)
    assert (await scraped(gateway))[DROPPED] == 0  # they wait in the queues
    os.kill(gateway.supervisor, signal.SIGTERM)
    lines = await asyncio.to_thread(full_pipe.lines_until, "gateway_drained")
    assert await gateway.wait() == 0
    supervised = [line["event"] for line in lines if line["logger"] == "supervisor"]
    order = ["worker_started", "worker_ready", "settings_reloaded", "worker_exited", "gateway_draining"]
    assert [supervised.index(event) for event in order] == sorted(map(supervised.index, order))


async def test_a_gateway_ends_although_its_log_is_not_read(
    start_gateway: StartGateway, full_pipe: FullPipe
) -> None:
    gateway = await start_gateway(stderr=full_pipe.writer, fresh=True)
    await serves(gateway)
    assert await gateway.stop() == 0


async def test_lines_without_a_reader_are_counted(start_gateway: StartGateway, full_pipe: FullPipe) -> None:
    os.close(full_pipe.reader)
    gateway = await start_gateway(stderr=full_pipe.writer)
    await serves(gateway)
    before = (await scraped(gateway))[DROPPED]
    assert before > 2  # "ready" of the worker, and the supervisor's lines about it
    await replaced(gateway)

    async def more() -> bool:
        return (await scraped(gateway))[DROPPED] > before

    await until(more)
    await serves(gateway)
    assert await gateway.stop() == 0


async def test_a_full_disk_under_log_and_data_folder_blocks_nothing(start_gateway: StartGateway) -> None:
    """No process of the gateway can add a byte to any file: RLIMIT_FSIZE replaces the full disk."""
    gateway = await start_gateway()
    await serves(gateway)
    before = (await scraped(gateway))[ACCEPTED]
    for pid in gateway.pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
    await serves(gateway)
    assert (await scraped(gateway))[ACCEPTED] == before + PINGS
    await replaced(gateway)
    await serves(gateway)
    found = await scraped(gateway)
    assert found[ACCEPTED] == before + 2 * PINGS
    assert found[DROPPED] > 0
    assert await gateway.stop() == 0


def no_token(gateway: Gateway) -> None:
    """Settings without a token: the token in the data folder is used."""
    document = yaml.safe_load(gateway.settings_file.read_text())
    del document["development"]["api_token"]
    gateway.settings_file.write_text(yaml.safe_dump(document))


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def empty_files(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"")


def folders_for_files(folder: Path) -> None:
    for file in list(folder.iterdir()):
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize("harm", [gone, a_file, empty_files, folders_for_files])
async def test_a_running_gateway_does_not_need_its_data_folder(
    tmp_path: Path, store: RedisServer, harm: Callable[[Path], None]
) -> None:
    gateway = Gateway(tmp_path, app={"redis": store.address})
    no_token(gateway)
    async with gateway:
        gateway.token = (gateway.data_dir / "api_token").read_text().strip()
        await serves(gateway)
        before = (await scraped(gateway))[ACCEPTED]
        harm(gateway.data_dir)
        with gateway.settings_file.open("a") as settings:
            settings.write("\n")  # reloaded, with the token that was made at the start
        os.kill(gateway.supervisor, signal.SIGHUP)
        await until(lambda: logged(gateway, "settings_applied"))
        await serves(gateway)
        assert (await scraped(gateway))[ACCEPTED] == before + PINGS
        await replaced(gateway)
        await serves(gateway)
        assert (await scraped(gateway))[ACCEPTED] == before + 2 * PINGS
        assert await gateway.stop() == 0


async def logged(gateway: Gateway, event: str) -> bool:
    return f'"{event}"' in gateway.log.read_text()


async def test_the_embedded_stores_folder_may_be_removed_while_it_serves(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    await serves(gateway)
    workers = set(gateway.workers)
    shutil.rmtree(gateway.data_dir)
    await serves(gateway)
    assert set(gateway.workers) == workers
    assert await gateway.stop() == 0


@pytest.fixture
def small_disk(short_path: Path) -> Iterator[Path]:
    """A separate file system of 8 MB."""
    if os.geteuid() != 0:
        missing("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(short_path)], check=False, capture_output=True
    )
    if mounted.returncode:
        missing("no file system can be mounted here")
    yield short_path
    subprocess.run(["umount", "--lazy", str(short_path)], check=True)


@pytest.mark.parametrize("durability", ["memory", "fsync"])
async def test_an_embedded_store_on_a_full_disk_refuses_pings_until_there_is_room(
    small_disk: Path, durability: str
) -> None:
    gateway = Gateway(small_disk, {"queue": {"durability": durability}})
    async with gateway:
        await serves(gateway)
        workers = set(gateway.workers)
        await asyncio.to_thread(fill, small_disk / "fill")

        async def refused() -> bool:
            answer = await gateway.ping("bob", message="x" * 3000)
            assert answer.status in (200, 503), answer.body
            return answer.status == 503

        await until(refused)
        for _ in range(5):
            answer = await gateway.ping("bob", message="x" * 3000)
            assert (answer.status, answer.json()["error"]["code"][:5]) in [(503, "store"), (503, "possi")]
        assert (await gateway.request("GET", "/healthz")).status == 200
        assert (await scraped(gateway))[ACCEPTED] >= PINGS
        (small_disk / "fill").unlink()

        async def accepted() -> bool:
            return (await gateway.ping("bob", message="hello")).status == 200

        await until(accepted)
        assert set(gateway.workers) == workers
        assert await gateway.stop() == 0


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as writer:
        try:
            while True:
                writer.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC


async def test_a_read_only_disk_blocks_nothing(small_disk: Path, tmp_path: Path, store: RedisServer) -> None:
    gateway = Gateway(tmp_path, {"data_dir": str(small_disk / "data")}, app={"redis": store.address})
    async with gateway:
        await serves(gateway)
        # Not a remount: a lock file that is open for writing forbids it.
        subprocess.run(["umount", "--lazy", str(small_disk)], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(small_disk)], check=True)
        await serves(gateway)
        await replaced(gateway)
        await serves(gateway)
        assert await gateway.stop() == 0


async def test_counts_of_both_workers_survive_a_kill(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=2)
    for number in range(1, 21):
        assert (await gateway.ping("bob", message="hello")).status == 200
        assert (await scraped(gateway))[ACCEPTED] == number  # the newest count, from whichever worker answers
    for expected in (21, 22):
        await replaced(gateway)
        await serves_one(gateway)
        found = await scraped(gateway)
        assert found[ACCEPTED] == expected
        assert found['rhopush_build_info{version="0.1.0"}'] == 1


async def serves_one(gateway: Gateway) -> None:
    assert (await gateway.ping("bob", message="hello")).status == 200


async def test_a_stopped_supervisor_blocks_no_worker(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    os.kill(gateway.supervisor, signal.SIGSTOP)
    try:
        async with asyncio.timeout(BUDGET_S):
            answer = await gateway.request("GET", "/metrics")
        assert (answer.status, answer.json()["error"]["code"]) == (503, "metrics_unavailable")
        await serves(gateway)
    finally:
        os.kill(gateway.supervisor, signal.SIGCONT)
    assert (await scraped(gateway))[ACCEPTED] == PINGS


async def test_the_metrics_port_answers_although_all_workers_are_stopped(start_gateway: StartGateway) -> None:
    gateway = await start_gateway({"metrics": {"port": 0}})
    await serves(gateway)
    assert (await gateway.request("GET", "/metrics")).status == 404
    assert "/metrics" not in (await gateway.request("GET", "/openapi.json")).json()["paths"]
    (line,) = [line for line in gateway.log.read_text().splitlines() if '"metrics_listening"' in line]
    (worker,) = gateway.workers
    async with aiohttp.ClientSession() as session:

        async def accepted() -> float:
            async with session.get(json.loads(line)["url"]) as answer:
                assert answer.status == 200
                return samples(await answer.text())[ACCEPTED]

        assert await accepted() == 10
        os.kill(worker, signal.SIGSTOP)
        try:
            assert await accepted() == 10
        finally:
            os.kill(worker, signal.SIGCONT)
