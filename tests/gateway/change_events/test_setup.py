"""Subscriptions and streams for the settings."""

from redis.asyncio import Redis

from gateway.change_events import open_change_events
from gateway.metrics import Metrics
from tests.gateway.change_events.test_coalescer import (
    listening,
    pings,
    push_objects,
    said,
    writing,
)
from tests.gateway.change_events.test_subscriber import configured
from tests.support.redis import RedisServer, store_client
from tests.support.worker_core import until


async def test_changes_of_documents_on_every_shard_are_received(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    with RedisServer("redis") as shard:
        async with store_client(shard.socket) as there:
            metrics, documents = Metrics(), (redis_server.address, shard.address)
            async with listening(
                redis_server.address, metrics, keyspace="configure", documents=documents
            ) as made:
                await writing(made)
                await until(lambda: configured(there))
                await push_objects(there, "bob", "Product")
                found = await pings(redis_client, 1)
    assert [one.pair for one in found] == [("bob", ("Product",))]
    await redis_client.config_set("notify-keyspace-events", "")


async def test_without_channels_no_listener_is_opened(redis_address: str) -> None:
    async with open_change_events(said(redis_address, channels=()), "tested", Metrics()) as made:
        assert made is None
