"""Fixtures for every test: a real store of each kind, and the gateway as a real process."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.system.open_files import raise_open_files_limit
from tests.support.event_loop import PatientLoop
from tests.support.forks import Forks
from tests.support.gateway import Gateway
from tests.support.order import order
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer, store_client

StartGateway = Callable[..., Awaitable[Gateway]]

HTTP_ONLY = frozenset({"api", "both", "console"})
"""Fixtures with the HTTP server or the console alone: a recorder instead of the queue, no worker.

The tests of the modules that the routes call run on each kind of store, and `tests/gateway/test_scripts.py` runs every
Lua script on each. So a test with one of these fixtures runs on one kind.
"""

OPEN_FILES = 10_000
"""Open files of each process: some tests have a thousand connections with both ends, and shells often allow 1,024
files."""
raise_open_files_limit(OPEN_FILES)

# Hundreds of processes are started: without kept bytecode each would compile every module of the gateway again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on this event loop."""
    return {"asyncio": PatientLoop}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the cycle collector, and leave them out of its later runs.

    The tests are some millions of objects, none of which is garbage.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # after pytest's own order, which keeps the tests of a fixture together
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin early."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if workers:
        found = [items[position] for position in order([item.location[0] for item in items], workers)]
        items[:] = found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a store on each kind, but a test of HTTP alone on the first kind."""
    if "redis_server" in metafunc.fixturenames:
        kinds = KINDS[:1] if HTTP_ONLY.intersection(metafunc.fixturenames) else KINDS
        metafunc.parametrize("redis_server", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A running store: Valkey from the wheel or Debian's redis-server. Not to be killed."""
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture
def unused_tcp_port() -> int:
    """A port on which nobody listens. pytest-asyncio's fixture gives ports that the system assigns to others."""
    return free_port()


@pytest.fixture
def redis_address(redis_server: RedisServer) -> str:
    """The address of an empty store, as a setting writes it."""
    redis_server.flush()
    return redis_server.address


@pytest.fixture
async def redis_client(redis_server: RedisServer, redis_address: str) -> AsyncIterator[Redis]:
    """A client of that empty store."""
    async with store_client(redis_server.socket) as client:
        yield client


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs the command in forks of a process that has imported its modules."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()


@pytest.fixture
async def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartGateway]:
    """Starts gateways, each in a folder of its own: `await start_gateway({...}, app={...}, workers=2)`."""
    started: list[Gateway] = []

    async def start(settings: dict[str, Any] | None = None, **options: Any) -> Gateway:
        # Short: the path of the embedded store's socket has at most 100 bytes.
        folder = tmp_path_factory.mktemp("g")
        gateway = Gateway(folder, settings, **options)
        started.append(gateway)
        await gateway.start()
        return gateway

    yield start
    for gateway in started:
        await gateway.close()
