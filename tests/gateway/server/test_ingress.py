"""Ingress that works without being called: one worker of a gateway has it."""

import pytest
from redis.asyncio import Redis

from gateway.metrics import Metrics
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.server.ingress import INGRESS_SLOT, open_background_ingress
from gateway.settings import EventSettings, LimitSettings, ResqueSettings, Secret, Settings, Source
from gateway.store.connection import RedisConnection
from tests.gateway.change_events.conftest import queued
from tests.support.worker_core import until

CHANNEL = "rhoconnect:changes"


def settings(address: str, *sources: str, users_max: int = 1_000) -> Settings:
    return Settings(
        redis=Secret(address),
        events=EventSettings(channels=(CHANNEL,), streams=(), window_ms=0),
        resque=ResqueSettings(queues=("ping",)),
        sources={name: Source(push_notify=True) for name in sources},
        limits=LimitSettings(users_per_ping=users_max),
    )


@pytest.fixture
async def producer(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, BacklogLimits(1_000, 10**6))


async def test_another_worker_has_none(redis_address: str, producer: QueueProducer) -> None:
    said = settings(redis_address, "Product")
    async with open_background_ingress(said, "tested", INGRESS_SLOT + 1, producer, Metrics()) as ingress:
        assert (ingress.events, ingress.resque) == (None, None)
        ingress.apply_settings(said)


async def test_jobs_and_changes_become_pings_by_the_settings_in_force(
    redis_address: str, redis_client: Redis, producer: QueueProducer
) -> None:
    async with open_background_ingress(
        settings(redis_address), "tested", INGRESS_SLOT, producer, Metrics()
    ) as ingress:
        assert ingress.events is not None
        assert ingress.resque is not None
        await ingress.events.leader.wait()
        ingress.apply_settings(settings(redis_address, "Product", users_max=7))
        assert ingress.resque.users_max == 7
        await redis_client.publish(CHANNEL, '{"source": "Product", "user_id": "eve"}')
        await redis_client.rpush("resque:queue:ping", '{"class": "PingJob", "args": [{"user_id": "bob"}]}')

        async def both() -> bool:
            return len(await queued(redis_client)) == 2

        await until(both)
    assert {one.ping.users for one in await queued(redis_client)} == {("bob",), ("eve",)}


async def test_after_its_end_nothing_new_is_accepted(
    redis_address: str, redis_client: Redis, producer: QueueProducer
) -> None:
    said = settings(redis_address, "Product")
    async with open_background_ingress(said, "tested", INGRESS_SLOT, producer, Metrics()) as ingress:
        await ingress.close(5.0)
        assert await redis_client.publish(CHANNEL, "{}") == 0
        assert await redis_client.smembers("resque:workers") == set()
