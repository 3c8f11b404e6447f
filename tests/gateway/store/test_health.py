"""Health of a Redis."""

import pytest
from redis.asyncio import Redis

from gateway.store import health as module
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from gateway.store.health import RedisHealth, redis_healths
from tests.gateway.conftest import MakeLink
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import read_until, until


async def probed(health: RedisHealth, connection: RedisConnection) -> str | None:
    health.probe()
    await connection.call("PING")  # replies come in order
    return health.error_text


async def test_a_redis_that_works_is_not_named_and_not_changed(
    connection: RedisConnection, redis_client: Redis
) -> None:
    assert await probed(RedisHealth("redis", connection, written=True, read=True), connection) is None
    assert await redis_client.dbsize() == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_redis_refuses_writes_and_is_read(kind: str, make_link: MakeLink) -> None:
    with RedisServer(kind) as server, server.client() as client:
        connection = await make_link(address=server.address)
        written = RedisHealth("queue.redis", connection, written=True)
        read = RedisHealth("redis", connection, read=True)
        client.config_set("maxmemory", 1)
        assert (await probed(written, connection) or "").startswith("is full")
        assert await probed(read, connection) is None
        client.config_set("maxmemory", 0)
        assert await probed(written, connection) is None


async def test_a_user_without_the_right_to_write_is_named_with_the_cause(
    redis_client: Redis, redis_address: str, make_link: MakeLink
) -> None:
    await redis_client.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-set")
    try:
        connection = await make_link(address=redis_address.replace("unix://", "unix://reader:pw@"))
        found = await probed(RedisHealth("redis", connection, written=True, read=True), connection)
    finally:
        await redis_client.execute_command("ACL", "DELUSER", "reader")
    assert (found or "").startswith("refuses: NOPERM")
    assert keys.PROBE not in (found or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frozen_redis_is_named_once_it_has_not_answered_for_some_time(
    kind: str, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STALE_S", 0.05)
    with RedisServer(kind) as server:
        connection = await make_link(address=server.address)
        health = RedisHealth("redis", connection, read=True)
        server.freeze()
        health.probe()
        await until(lambda: health.error_text)
        assert health.error_text == "does not answer"
        server.thaw()

        async def probe() -> str | None:
            health.probe()
            return health.error_text

        assert await read_until(None, probe) is None


async def test_each_redis_is_probed_for_its_uses(connection: RedisConnection) -> None:
    main, queue = RedisAddress.parse("db:1"), RedisAddress.parse("db:2")
    assert [one.name for one in redis_healths(main, connection, main, connection)] == ["redis"]
    assert [one.name for one in redis_healths(main, connection, queue, connection)] == [
        "queue.redis",
        "redis",
    ]


async def test_a_server_that_only_has_to_answer_is_pinged(
    make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STALE_S", 0.0)
    with RedisServer("valkey", options={"maxmemory": "1"}) as server:
        connection = await make_link(address=server.address)
        health = RedisHealth("resque.redis", connection, pinged=True)
        health._answered_at -= 1.0
        assert health.error_text == "does not answer"
        monkeypatch.setattr(module, "_STALE_S", 5.0)
        health._answered_at -= 10.0
        assert await probed(health, connection) is None
