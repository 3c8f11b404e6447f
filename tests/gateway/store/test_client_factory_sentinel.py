"""A real Sentinel, and one that accepts connections and never replies: the master is still found."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Connection

from gateway.errors import StoreDown
from gateway.store.address import RedisAddress
from gateway.store.client_factory import ask_sentinels, client, locate
from gateway.store.connection import RedisConnection
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer


@pytest.fixture(params=KINDS)
def sentinel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Ports of a master and of the Sentinel that monitors it."""
    master, port = free_port(), free_port()
    file = tmp_path / "sentinel.conf"
    file.write_text(f"sentinel monitor mymaster 127.0.0.1 {master} 1\n")
    with (
        RedisServer(request.param, options={"port": str(master)}),
        RedisServer(request.param, options={"port": str(port)}, sentinel=file),
    ):
        yield master, port


@pytest.fixture
def silent() -> Iterator[tuple[int, int]]:
    """Ports of two servers that accept connections and never reply, like frozen ones."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield one.getsockname()[1], other.getsockname()[1]


def watched(*ports: int) -> RedisAddress:
    return RedisAddress(sentinels=tuple(("127.0.0.1", port) for port in ports), service="mymaster")


async def test_a_sentinel_names_the_master(sentinel: tuple[int, int]) -> None:
    master, port = sentinel
    assert await locate(watched(port)) == ("127.0.0.1", master)


async def test_a_silent_sentinel_does_not_delay_the_master_connection(
    sentinel: tuple[int, int], silent: tuple[int, int]
) -> None:
    """The master's machine fails together with the Sentinel on it, which is listed first."""
    _, port = sentinel
    connection = RedisConnection(watched(*silent, port), "test")
    await connection.open(30)
    try:
        assert await connection.call("PING") == b"PONG"
    finally:
        await connection.close()


async def test_a_question_leaves_no_connection_at_whichever_turn_of_the_loop_it_is_cancelled(
    sentinel: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = sentinel
    opened: list[Connection] = []
    connect = Connection.connect_check_health

    async def recorded(connection: Connection, *words: bool) -> None:
        opened.append(connection)
        await connect(connection, *words)

    monkeypatch.setattr(Connection, "connect_check_health", recorded)
    answers: set[bool] = set()
    for turns in range(60):
        question = asyncio.create_task(ask_sentinels(watched(port, port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0003 * (turns % 4))
        question.cancel()
        await asyncio.wait([question])
        answers.add(question.cancelled())
        assert not any(connection.is_connected for connection in opened), f"cancelled after {turns} turns"
    assert len(opened) > 60
    assert answers == {True, False}


async def test_a_silent_sentinel_delays_a_client_by_its_timeout_at_most(
    sentinel: tuple[int, int], silent: tuple[int, int]
) -> None:
    _, port = sentinel
    async with client(watched(silent[0], port), timeout_s=300.0) as redis:
        async with asyncio.timeout(30):
            assert await redis.ping()
        for asked in redis.connection_pool.sentinel_manager.sentinels:  # redis-py leaves them open
            await asked.aclose()


async def test_the_error_has_the_answer_of_each_sentinel(sentinel: tuple[int, int]) -> None:
    _, port = sentinel
    unknown = RedisAddress(sentinels=(("127.0.0.1", port),), service="other")
    with pytest.raises(
        StoreDown, match="no Sentinel names a master of 'other': one has no master of that name"
    ):
        await locate(unknown)
