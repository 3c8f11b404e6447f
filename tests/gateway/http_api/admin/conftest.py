"""A complete worker with simulated providers, for the routes of operators."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.support.providers import TOPIC, provider_settings
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker import Worker, working

PIN, DEAD_PIN = "ab" * 32, "de" * 32


class Served(NamedTuple):
    """A worker. The user `bob` has an Apple and an FCM device; APNs calls the only device of `eve` dead."""

    worker: Worker
    apns: ApnsSimulator
    redis: Redis


@pytest.fixture
async def served(redis_address: str, redis_client: Redis, tmp_path: Path) -> AsyncIterator[Served]:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        apns.faults.add(f"410:token={DEAD_PIN}")
        await lay_user(redis_client, "bob", [apple(PIN), android("a-token")])
        await lay_user(redis_client, "eve", [apple(DEAD_PIN, client_id="e" * 32, device_app_id=TOPIC)])
        async with working(tmp_path, redis_address, provider_settings(apns, fcm)) as worker:
            yield Served(worker, apns, redis_client)
