"""Clients that never repeat a command, and the facts about real servers."""

import asyncio
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.errors import StoreDown
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client, facts, locate
from tests.support.redis import RedisServer


async def test_facts_of_a_server_without_persistence(redis_server: RedisServer, redis_address: str) -> None:
    async with client(RedisAddress.parse(redis_address)) as redis:
        found = await facts(redis)
    assert found.product == redis_server.kind
    assert found.number >= (6, 2)
    assert (found.append_only, found.append_fsync, found.snapshots) == (False, "everysec", False)
    assert (found.eviction, found.memory_max_bytes) == ("noeviction", 0)
    assert (found.replicas, found.master) == (0, True)


async def test_facts_of_a_server_that_keeps_and_evicts() -> None:
    options = {"appendfsync": "always", "maxmemory": "10mb", "maxmemory-policy": "allkeys-lru"}
    with RedisServer("valkey", persist=True, options=options) as server:
        async with client(RedisAddress.parse(server.address)) as redis:
            found = await facts(redis)
    assert (found.append_only, found.append_fsync) == (True, "always")
    assert (found.eviction, found.memory_max_bytes) == ("allkeys-lru", 10 * 1024 * 1024)


async def test_without_config_the_other_facts_are_still_read() -> None:
    with RedisServer("redis") as server:
        address = RedisAddress.parse(server.address)
        async with client(address) as redis:
            await redis.execute_command("ACL", "SETUSER", "default", "-config")
            found = await facts(redis)
    assert (found.append_fsync, found.snapshots) == (None, None)
    assert (found.append_only, found.eviction) == (False, "noeviction")


async def test_an_unreachable_server_raises_store_down(tmp_path: Path) -> None:
    async with client(RedisAddress(unix_path=str(tmp_path / "none"))) as redis:
        with pytest.raises(StoreDown, match="Redis does not answer"):
            await facts(redis)


async def test_a_command_without_an_answer_is_sent_once() -> None:
    received = bytearray()
    lengths: list[int] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            received.extend(data)
            lengths.append(len(data))
            if b"CLIENT" in data:
                writer.write(b"+OK\r\n" * data.count(b"CLIENT"))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with client(RedisAddress("127.0.0.1", port), timeout_s=0.2) as redis:
            with pytest.raises((RedisTimeoutError, RedisConnectionError)):
                await redis.rpush("list", "once")
        server.close()
    assert received.count(b"RPUSH") == 1


async def test_replies_are_bytes(redis_address: str) -> None:
    async with client(RedisAddress.parse(redis_address)) as redis:
        await redis.set("key", "value")
        assert await redis.get("key") == b"value"


async def test_a_plain_address_is_used_unchanged() -> None:
    assert await locate(RedisAddress("db", 7000)) == ("db", 7000)


async def test_unreachable_sentinels_raise_store_down(unused_tcp_port: int) -> None:
    address = RedisAddress(sentinels=(("127.0.0.1", unused_tcp_port),), service="mymaster")
    with pytest.raises(StoreDown, match="no Sentinel names a master of 'mymaster'"):
        await locate(address)
