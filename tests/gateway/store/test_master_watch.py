"""Connections follow the master that real Sentinels name, although the former one still accepts writes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from gateway.store import master_watch
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from gateway.store.master_watch import ELSEWHERE, present_master, watching_master
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import until

SERVICE = "mymaster"


class Monitored(NamedTuple):
    """Two masters, and three Sentinels that all monitor the first one."""

    masters: Sequence[int]
    sentinels: Sequence[int]

    @property
    def address(self) -> RedisAddress:
        return RedisAddress(sentinels=tuple(("127.0.0.1", port) for port in self.sentinels), service=SERVICE)

    def move(self, *sentinels: int) -> None:
        """Let Sentinels monitor the second master, as after a failover. The first one stays a master."""
        for number in sentinels:
            with redis.Redis(port=self.sentinels[number], driver_info=None) as client:
                client.execute_command("SENTINEL", "REMOVE", SERVICE)
                client.execute_command("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", self.masters[1], 2)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask at short intervals, so that no test waits for it."""
    monkeypatch.setattr(master_watch, "CHECK_S", 0.02)


@pytest.fixture(params=KINDS)
def monitored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Monitored]:
    masters, sentinels = [free_port() for _ in range(2)], [free_port() for _ in range(3)]
    with ExitStack() as stack:
        for port in masters:
            stack.enter_context(RedisServer(request.param, options={"port": str(port)}))
        for port in sentinels:
            file = tmp_path / f"{port}.conf"
            file.write_text(f"sentinel monitor {SERVICE} 127.0.0.1 {masters[0]} 2\n")
            stack.enter_context(RedisServer(request.param, options={"port": str(port)}, sentinel=file))
        yield Monitored(masters, sentinels)


async def port_of(connection: RedisConnection) -> int:
    """The port of the server that a connection leads to."""
    _, port = await connection.call("CONFIG", "GET", "port")
    return int(port)


async def test_a_connection_leaves_a_former_master_that_still_accepts_writes(monitored: Monitored) -> None:
    downs: list[str | None] = []
    connection = RedisConnection(monitored.address, "test", on_down=lambda: downs.append(connection.error))
    await connection.open(20)
    try:
        assert await port_of(connection) == monitored.masters[0]
        monitored.move(0, 1, 2)
        await until(lambda: bool(downs))
        await connection.wait_up()
        assert (downs, await port_of(connection)) == ([ELSEWHERE], monitored.masters[1])
        await asyncio.sleep(0.2)
        assert downs == [ELSEWHERE]
    finally:
        await connection.close()


async def test_one_sentinel_of_three_moves_no_connection(monitored: Monitored) -> None:
    reasons: list[str] = []
    async with watching_master(monitored.address, ("127.0.0.1", monitored.masters[0]), reasons.append):
        monitored.move(0)
        await asyncio.sleep(0.3)
        assert reasons == []
        monitored.move(1)
        await until(lambda: bool(reasons))
    assert reasons == [ELSEWHERE]


async def test_all_connections_to_the_former_master_are_closed_together(
    monitored: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise some would append pings to a queue that the others no longer read."""
    former, present = (("127.0.0.1", port) for port in monitored.masters)
    left: list[str] = []
    monkeypatch.setattr(master_watch, "CHECK_S", 1_000.0)  # the first ones never ask
    async with AsyncExitStack() as stack:
        for name, node in (("one", former), ("other", former), ("moved", present)):
            await stack.enter_async_context(
                watching_master(monitored.address, node, lambda _, name=name: left.append(name))
            )
        await asyncio.sleep(0)
        monitored.move(0, 1, 2)
        monkeypatch.setattr(master_watch, "CHECK_S", 0.02)
        last = watching_master(monitored.address, former, lambda _: left.append("last"))
        await stack.enter_async_context(last)
        await until(lambda: bool(left))
        assert left == ["one", "other", "last"]


async def test_a_name_and_an_ip_address_of_one_server_are_the_same_master(monitored: Monitored) -> None:
    reasons: list[str] = []
    async with watching_master(monitored.address, ("localhost", monitored.masters[0]), reasons.append):
        await asyncio.sleep(0.3)
    assert reasons == []


async def test_sentinels_that_do_not_answer_move_no_connection() -> None:
    address = RedisAddress(sentinels=(("127.0.0.1", free_port()),), service=SERVICE)
    reasons: list[str] = []
    async with watching_master(address, ("127.0.0.1", 1), reasons.append):
        await asyncio.sleep(0.3)
    assert reasons == []


async def test_all_connections_to_an_address_ask_together(
    monitored: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RedisAddress] = []
    ask = master_watch.ask_sentinels

    async def counted(address: RedisAddress) -> list[tuple[str, int]]:
        asked.append(address)
        return await ask(address)

    monkeypatch.setattr(master_watch, "ask_sentinels", counted)
    monkeypatch.setattr(master_watch, "CHECK_S", 1_000.0)
    node = ("127.0.0.1", monitored.masters[0])
    found = await asyncio.gather(*(present_master(monitored.address) for _ in range(10)))
    assert (found, asked) == ([node, *[None] * 9], [monitored.address])
    assert await present_master(monitored.address) == node
    assert asked == [monitored.address]
