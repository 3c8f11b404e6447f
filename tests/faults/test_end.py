"""The end of a gateway whose Redis does not answer: its workers end by themselves, and are not killed."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user

PIN = "ab" * 32
DRAIN_S = 0.5
"""With the supervisor's grace time, less than Redis has to answer a command."""


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    """The Redis of the gateway, and one for Resque alone."""
    with ExitStack() as stack:
        yield stack.enter_context(RedisServer("valkey")), stack.enter_context(RedisServer("valkey"))


def killed(gateway: Gateway) -> int:
    """Number of workers that the supervisor killed at the end."""
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    (found,) = [line["killed"] for line in lines if line["event"] == "gateway_drained"]
    return int(found)


@pytest.mark.parametrize("frozen", ["all", "resque"])
async def test_workers_end_by_themselves_while_a_redis_does_not_answer(
    frozen: str, servers: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    store, resque = servers
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        options: dict[str, Any] = {
            "drain_s": DRAIN_S,
            "resque": {"queues": ["ping"], "redis": resque.address},
        }
        settings = provider_settings(apns, fcm, **options)
        async with (
            Gateway(tmp_path, settings, app={"redis": store.address}, workers=2) as gateway,
            store_client(store.socket) as redis,
        ):
            await lay_user(redis, "bob", [apple(PIN)])
            apns.hold()
            assert (await gateway.ping("bob", message="hello")).status == 200
            await apns.received.wait(1)
            for server in (store, resque) if frozen == "all" else (resque,):
                server.freeze()
            os.kill(gateway.supervisor, signal.SIGTERM)
            assert await gateway.wait() == 0
            assert killed(gateway) == 0
            for server in servers:
                server.thaw()
