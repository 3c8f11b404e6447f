"""Consumer names of gateways that never return; an entry is never lost with one."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.queue.consumer import Streams
from gateway.queue.idle_consumers import remove_idle_consumers
from gateway.queue.worker_reports import KEPT_S, WorkerReports
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.telemetry.worker_report import WorkerReport


async def names(redis: Redis, stream: str = keys.PINGS) -> list[str]:
    return sorted(one["name"].decode() for one in await redis.xinfo_consumers(stream, keys.GROUP))


@pytest.fixture
async def streams(connection: RedisConnection, redis_client: Redis) -> Streams:
    """The consumer `gone:0` holds nothing, and `held:0` holds an entry."""
    made = Streams(connection, "one:0", 60)
    await made.prepare()
    await redis_client.xadd(keys.PINGS, {"e": "", "n": 1, "s": 1})
    await redis_client.xreadgroup(keys.GROUP, "held:0", {keys.PINGS: ">"})
    for stream in keys.STREAMS:
        await redis_client.xgroup_createconsumer(stream, keys.GROUP, "gone:0")
    await asyncio.sleep(0.01)  # idle times count in milliseconds
    return made


async def test_a_name_without_entries_is_removed_from_every_stream(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    assert await remove_idle_consumers(connection, 1) == ["gone:0"]
    assert await names(redis_client) == ["held:0"]
    assert await names(redis_client, keys.RETRIES) == []
    assert (await redis_client.xpending(keys.PINGS, keys.GROUP))["pending"] == 1
    assert await remove_idle_consumers(connection, 1) == []


async def test_a_name_that_read_recently_or_reports_stays(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    stale = WorkerReport("killed", 0, SHARED_CLOCK.now_ms() - int(KEPT_S * 2000))
    await WorkerReports(connection).write(stale)
    await streams.remove_idle_consumers()
    assert await redis_client.exists(keys.WORKER_REPORTS) == 0
    assert await remove_idle_consumers(connection, 60_000) == []
    await WorkerReports(connection).write(WorkerReport("gone", 0, SHARED_CLOCK.now_ms()))
    assert await remove_idle_consumers(connection, 1) == []
    assert await names(redis_client) == ["gone:0", "held:0"]


async def test_a_removed_consumer_reads_again_under_its_name(
    streams: Streams, connection: RedisConnection, redis_client: Redis
) -> None:
    await remove_idle_consumers(connection, 1)
    await redis_client.xadd(keys.PINGS, {"e": "", "n": 1, "s": 1})
    found = await redis_client.xreadgroup(keys.GROUP, "gone:0", {keys.PINGS: ">"})
    assert len(found[0][1]) == 1
    assert await names(redis_client) == ["gone:0", "held:0"]


async def test_a_new_redis_has_no_groups(connection: RedisConnection, redis_client: Redis) -> None:
    await redis_client.xadd(keys.PINGS, {"e": ""})
    assert await remove_idle_consumers(connection, 1) == []
