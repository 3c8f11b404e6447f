"""The process of one worker: its order, its heartbeat, and its end with the supervisor's."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.server.ipc import EXIT_SETTINGS, HEARTBEAT, READY, WorkerConfig, pack
from gateway.settings import ApnsSettings, Settings
from tests.support.gateway import ROOT

BUDGET_S = 30.0


class Process:
    """A worker's process, whose supervisor is this test."""

    def __init__(self) -> None:
        self.held = ExitStack()
        self.listener = self.held.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.ours, theirs = socket.socketpair()
        self.held.enter_context(self.ours)
        self.theirs = self.held.enter_context(theirs)
        self.status, self.status_fd = os.pipe()
        self.process: Any = None

    async def start(self, topic: str = "", module: str = "tests.gateway.server.stand_in_worker") -> None:
        order = WorkerConfig(
            slot=3,
            gateway_id="tested",
            module=module,
            socket_fd=self.listener.fileno(),
            status_fd=self.status_fd,
            metrics_fd=self.theirs.fileno(),
        )
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.server.worker_start"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=order.descriptors,
        )
        os.close(self.status_fd)
        self.process.stdin.write(pack(order, Settings(apns=ApnsSettings(topic=topic or None))))

    async def said(self, word: bytes) -> None:
        """Wait until this word was sent on the status pipe."""
        async with asyncio.timeout(BUDGET_S):
            while True:
                found = await asyncio.to_thread(os.read, self.status, 1)
                assert found, "the worker has ended"
                if found == word:
                    return

    async def end(self) -> tuple[int, str]:
        """Return its exit status and its output on standard error."""
        async with asyncio.timeout(BUDGET_S):
            errors = await self.process.stderr.read()
            return await self.process.wait(), errors.decode()

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        os.close(self.status)
        self.held.close()


@pytest.fixture
async def worker() -> AsyncIterator[Process]:
    made = Process()
    yield made
    await made.close()


async def test_it_is_ready_sends_heartbeats_and_drains_at_sigterm(worker: Process) -> None:
    await worker.start()
    await worker.said(READY)
    await worker.said(HEARTBEAT)
    reader, writer = await asyncio.open_connection(*worker.listener.getsockname())
    writer.write(b"who\n")
    about = json.loads(await asyncio.wait_for(reader.readline(), BUDGET_S))
    assert (about["slot"], about["pid"]) == (3, worker.process.pid)
    writer.close()
    worker.process.terminate()
    assert (await worker.end())[0] == 0


async def test_before_it_is_ready_sigterm_ends_it_immediately(worker: Process) -> None:
    await worker.start("slow-start")
    await worker.said(HEARTBEAT)
    worker.process.terminate()
    assert (await worker.end())[0] == 0


@pytest.mark.parametrize(
    ("topic", "status", "words"),
    [("bad-setting", EXIT_SETTINGS, "a worker found it bad"), ("store-down", 1, "Redis does not answer")],
)
async def test_an_error_at_the_start_is_its_exit_status(
    worker: Process, topic: str, status: int, words: str
) -> None:
    await worker.start(topic)
    found, errors = await worker.end()
    assert found == status
    assert words in errors


async def test_it_ends_with_its_supervisor(worker: Process) -> None:
    await worker.start()
    await worker.said(READY)
    worker.process.stdin.close()
    assert (await worker.end())[0] == 70


async def test_an_incomplete_configuration_starts_nothing(worker: Process) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.server.worker_start"), cwd=ROOT, stdin=asyncio.subprocess.PIPE
    )
    worker.process = process
    await process.communicate(b'{"slot":0}\n{"redis"')
    assert process.returncode == 70
    os.close(worker.status_fd)
