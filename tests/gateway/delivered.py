"""A worker with its simulated providers and one user of each kind, for tests of what sits in front of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working

GOOD_PIN, DEAD_PIN, SLOW_PIN = "ab" * 32, "de" * 32, "51" * 32


class Delivered(NamedTuple):
    """Users `good`, `dead` (its device is gone), `slow` (its provider answers after 2 s) and `empty`."""

    gateway: Worker
    apns: ApnsSimulator
    redis: Redis


@asynccontextmanager
async def delivered(folder: Path) -> AsyncIterator[Delivered]:
    """The whole, running, on one kind of Redis. The output is that of the tested command: the log is captured."""
    faults = (f"410:token={DEAD_PIN}", f"delay=2000:token={SLOW_PIN}")
    with RedisServer("valkey") as server, capture_logs():
        async with (
            ApnsSimulator(ApnsOptions(faults=faults)) as apns,
            FcmSimulator() as fcm,
            store_client(server.socket) as redis,
        ):
            for login, pin in (("good", GOOD_PIN), ("dead", DEAD_PIN), ("slow", SLOW_PIN)):
                await lay_user(redis, login, [apple(pin, client_id=login * 8)])
            await lay_user(redis, "empty")
            said = provider_settings(apns, fcm, ping={"wait_max_s": 1.0}, drain_s=1)
            async with working(folder, server.address, said) as worker:
                yield Delivered(worker, apns, redis)
