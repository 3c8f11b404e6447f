"""The ceiling of HTTP connections on the main port."""

import asyncio
import json
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.connection_limits import RESERVED_FILES, ConnectionLimits
from tests.conftest import StartGateway
from tests.gateway.doors.house import WAIT_S, House, Wire, request, wire

BOB = request({"user_id": "bob"})
FORM = request(b"user_id=bob", headers={"Content-Type": "application/x-www-form-urlencoded"})


async def connected(stack: AsyncExitStack, doors: House, data: bytes = b"") -> Wire:
    """A client that is known to the doors: it has had an answer, or it is counted."""
    before = doors.services.connections.main
    client = await stack.enter_async_context(wire(doors.port))
    if data:
        client.send(data)
        assert (await client.answer()).status == 200
        return client
    async with asyncio.timeout(WAIT_S):
        while doors.services.connections.main == before:
            await asyncio.sleep(0.002)
    return client


@pytest.mark.parametrize("data", [BOB, FORM], ids=["fast", "aiohttp"])
async def test_the_oldest_idle_connection_makes_room(doors: House, data: bytes) -> None:
    doors.set(limits={"connections": 3})
    async with AsyncExitStack() as stack:
        first, second, third = [await connected(stack, doors, data) for _ in range(3)]
        first.send(data)  # so that the second one is the oldest
        assert (await first.answer()).status == 200
        fourth = await stack.enter_async_context(wire(doors.port))
        fourth.send(data)
        assert (await fourth.answer()).status == 200
        assert await second.rest() == b""
        for client in (first, third, fourth):
            client.send(data)
            assert (await client.answer()).status == 200
        fifth = await stack.enter_async_context(wire(doors.port))
        fifth.send(data)
        assert (await fifth.answer()).status == 200
        assert await first.rest() == b""
    assert doors.services.connections.main <= 3


async def test_one_that_has_sent_nothing_is_idle(doors: House) -> None:
    doors.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        silent = [await connected(stack, doors) for _ in range(2)]
        client = await stack.enter_async_context(wire(doors.port))
        client.send(BOB)
        assert (await client.answer()).status == 200
        assert await silent[0].rest() == b""


@pytest.mark.parametrize("busy", ["head", "body", "aiohttp's head", "answer"])
async def test_where_none_is_idle_a_new_connection_is_refused(doors: House, busy: str) -> None:
    doors.set(limits={"connections": 2})
    begun = {"head": BOB[:40], "body": BOB[:-3], "aiohttp's head": FORM[:-30], "answer": BOB}[busy]
    doors.queue.holding = True
    async with AsyncExitStack() as stack:
        clients = [await connected(stack, doors) for _ in range(2)]
        for client in clients:
            client.send(begun)
            await client.writer.drain()
        if busy == "answer":
            await doors.queue.has(2)
        refused = await stack.enter_async_context(wire(doors.port))
        await asyncio.sleep(0.05)
        refused = await stack.enter_async_context(wire(doors.port))
        answer = await refused.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "connections_full")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("2", "close")
        assert await refused.rest() == b""
        if busy == "answer":
            doors.queue.commit()
            assert [(await client.answer()).status for client in clients] == [200, 200]


async def test_places_come_back(doors: House) -> None:
    doors.set(limits={"connections": 1})
    async with AsyncExitStack() as stack:
        client = await connected(stack, doors)
        client.send(BOB[:-3])
        await client.writer.drain()
    async with asyncio.timeout(WAIT_S):
        while doors.services.connections.main:
            await asyncio.sleep(0.002)
    async with wire(doors.port) as client:
        client.send(BOB)
        assert (await client.answer()).status == 200


async def test_many_refused_ones_do_not_stay(doors: House, redis_client: Redis) -> None:
    doors.set(limits={"connections": 1})
    async with AsyncExitStack() as stack:
        busy = await connected(stack, doors)
        busy.send(BOB[:-3])
        await busy.writer.drain()
        await asyncio.sleep(0.05)
        for _ in range(200):
            refused = await stack.enter_async_context(wire(doors.port))
            assert b"connections_full" in await refused.rest()
        busy.send(BOB[-3:])
        assert (await busy.answer()).status == 200


def test_the_ceiling_comes_from_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(soft: int, main: int = 0, push: int = 0) -> ConnectionLimits:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        found = ConnectionLimits()
        found.main, found.push = main, push
        return found

    usable = 1_024 - RESERVED_FILES
    assert not limits(1_024, main=usable * 3 // 4 - 1).main_full()
    assert limits(1_024, main=usable * 3 // 4).main_full()
    assert limits(1_024, push=usable * 3 // 4).push_full()
    # A quarter stays for the other port, whatever one has; and both together never have more than there are.
    assert not limits(1_024, main=usable // 4 - 1, push=usable * 3 // 4).main_full()
    assert limits(1_024, main=usable // 4, push=usable * 3 // 4).main_full()
    assert limits(1_024, main=usable // 2, push=usable // 2).push_full()
    assert limits(64, main=24).main_full()
    assert not limits(resource.RLIM_INFINITY, main=700_000).main_full()


@pytest.mark.timeout(180)
async def test_a_worker_without_open_files_left_goes_on(start_gateway: StartGateway, tmp_path: Path) -> None:
    """Accept fails with EMFILE: the worker neither ends nor spins, and serves again once there are files."""
    gateway = await start_gateway({"limits": {"connections": 10_000}})
    (worker,) = gateway.workers
    used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 10, hard))
    opened = [await asyncio.open_connection(gateway.host, gateway.port) for _ in range(40)]
    before = cpu_ticks(worker)
    await asyncio.sleep(1.0)
    assert cpu_ticks(worker) - before < 50  # of a hundred in a second
    for _, writer in opened:
        writer.close()
    async with asyncio.timeout(WAIT_S):
        while len(list(Path(f"/proc/{worker}/fd").iterdir())) > used + 2:
            await asyncio.sleep(0.02)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (hard, hard))
    assert (await gateway.ping("bob")).status == 200
    assert gateway.workers == [worker]


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
