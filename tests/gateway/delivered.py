"""A gateway with its simulated providers and one user of each kind, for tests of what sits in front of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.rhoconnect import apple, lay_user

GOOD_PIN, DEAD_PIN, SLOW_PIN = "ab" * 32, "de" * 32, "51" * 32


class Delivered(NamedTuple):
    """Users `good`, `dead` (its device is gone), `slow` (its provider answers after 2 s) and `empty`."""

    gateway: Gateway
    apns: ApnsSimulator


@asynccontextmanager
async def delivered(folder: Path) -> AsyncIterator[Delivered]:
    """The whole, running."""
    faults = (f"410:token={DEAD_PIN}", f"delay=2000:token={SLOW_PIN}")
    async with ApnsSimulator(ApnsOptions(faults=faults)) as apns, FcmSimulator() as fcm:
        said = provider_settings(apns, fcm, ping={"wait_max_s": 1.0})
        async with Gateway(folder, said) as gateway:
            socket = str(gateway.data_dir / "valkey" / "valkey.sock")
            async with Redis(unix_socket_path=socket) as redis:
                for login, pin in (("good", GOOD_PIN), ("dead", DEAD_PIN), ("slow", SLOW_PIN)):
                    await lay_user(redis, login, [apple(pin, client_id=login * 8)])
                await lay_user(redis, "empty")
            yield Delivered(gateway, apns)
