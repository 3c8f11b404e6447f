"""Keyspace notifications of RhoConnect's documents."""

import pytest
from redis.asyncio import Redis

from gateway.metrics import Metrics
from tests.gateway.change_events.test_coalescer import counts, listening, pings, push_objects, writing
from tests.support.redis import RedisServer
from tests.support.worker_core import until


@pytest.mark.parametrize("flags", ["", "KA", "Ex"])
async def test_changes_of_documents_are_received(
    redis_server: RedisServer, redis_client: Redis, flags: str
) -> None:
    metrics = Metrics()
    await redis_client.config_set("notify-keyspace-events", flags)
    async with listening(redis_server.address, metrics, keyspace="configure") as made:
        await writing(made)
        await until(lambda: configured(redis_client))
        for user, source in (("bob", "Product"), ("a:b", "Order"), ("__shared__", "Product"), ("x", "Quiet")):
            await push_objects(redis_client, user, source)
        await redis_client.sadd(b"source:application:\xff:Product:md:0a", "[]")
        found = await pings(redis_client, 2)
    assert sorted(one.pair for one in found) == [("a:b", ("Order",)), ("bob", ("Product",))]
    assert counts(metrics, "change_events_received", "kind") == {"keyspace": 9}
    assert counts(metrics, "change_events_ignored", "reason") == {"no_push_notify": 3, "invalid_field": 1}
    await redis_client.config_set("notify-keyspace-events", "")


async def configured(redis: Redis) -> bool:
    held = str((await redis.config_get("notify-keyspace-events")).values())
    return "K" in held and ("A" in held or all(flag in held for flag in "g$sh"))
