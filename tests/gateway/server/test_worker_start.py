"""The start of a worker process: the modules that it imports, and signals that it ignores."""

import json
import signal
from collections.abc import AsyncIterator

import pytest

from gateway.server.ipc import READY
from tests.gateway.server.test_process import Process

UNUSED = (
    "google.auth",
    "jinja2",
    "opentelemetry",
    "prometheus_client",
    "pygments",
    "rich",
    "trustme",
    "yaml",
    "gateway.bench",
    "gateway.check",
    "gateway.cli",
    "gateway.client",
    "gateway.console.rendering",
    "gateway.simulators",
)
"""Packages and modules that a worker without tracing uses for rare requests, or never."""


@pytest.fixture
async def worker() -> AsyncIterator[Process]:
    made = Process()
    yield made
    await made.close()


async def test_a_worker_imports_nothing_that_it_does_not_use(worker: Process) -> None:
    await worker.start(module="tests.gateway.server.listing_worker")
    await worker.said(READY)
    worker.process.terminate()
    _, errors = await worker.end()
    names = json.loads(next(line for line in errors.splitlines() if line.startswith("[")))
    assert {"gateway.server.worker", "gateway.delivery.providers.apns", "aiohttp", "structlog"} <= {*names}
    assert [name for name in UNUSED if name in names] == []


async def test_ctrl_c_does_not_end_it(worker: Process) -> None:
    await worker.start()
    await worker.said(READY)
    worker.process.send_signal(signal.SIGINT)
    worker.process.terminate()
    assert (await worker.end())[0] == 0
