"""The stores of operators of two workers share what is in Redis."""

from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.http_api.operator_stores import operator_stores
from gateway.registry.examination import Examination
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store.connection import RedisConnection
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import pipeline


async def test_what_one_worker_writes_another_reads(
    redis_address: str, redis_client: Redis, connection: RedisConnection, tmp_path: Path
) -> None:
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    async with (
        ApnsSimulator() as apns,
        FcmSimulator() as fcm,
        pipeline(redis_address, tmp_path, provider_settings(apns, fcm)) as core,
    ):
        made: Any = [
            operator_stores(connection, connection, Examination(core.registry, connection), core.lanes)
            for _ in range(2)
        ]
        one, two = made
        assert await two.lane_resets.unseen() == []
        await one.lane_resets.request("apns:A")
        assert await two.lane_resets.unseen() == ["apns:A"]
        assert await one.worker_reports.read() == []
        assert (await one.queue.read()).pings == 0
        assert (await one.quarantine.page())["records"] == []
        (device,) = await one.device_reports.of_user("bob")
        assert device["reachable"]
