"""Whom a chunk of a broadcast reaches."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.fanout.broadcast_targets import CHUNK_MISSING, BroadcastTargets
from gateway.queue.entries import encode
from gateway.registry import user_devices
from gateway.store import keys
from protocols.devices import REPEATED
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import pipeline

PING_ID = "0" * 32


@pytest.fixture
async def targets(
    redis_address: str, tmp_path: Path, settings: dict[str, Any]
) -> AsyncIterator[BroadcastTargets]:
    async with pipeline(redis_address, tmp_path, settings) as one:
        yield one.targets


async def lay_chunk(redis: Redis, chunk: int, *users: str) -> None:
    await redis.hset(keys.broadcast_users(PING_ID), str(chunk), encode(list(users)))


async def test_a_device_belongs_to_the_chunk_that_claims_it_first(
    targets: BroadcastTargets, redis_client: Redis
) -> None:
    shared = {"phone_id": "shared"}
    await lay_users(
        redis_client,
        {"ann": [apple("aa" * 32, **shared)], "bob": [apple("bb" * 32, **shared), apple("cc" * 32)]},
    )
    await lay_chunk(redis_client, 0, "ann")
    await lay_chunk(redis_client, 1, "bob")
    first = await targets.of(PING_ID, 0)
    second = await targets.of(PING_ID, 1)
    assert [one.device.pin for one in first.chosen] == ["aa" * 32]
    assert [one.device.pin for one in second.chosen] == ["cc" * 32]
    assert (first.skipped, second.skipped) == ({}, {REPEATED: 1})
    assert [one.device.pin for one in (await targets.of(PING_ID, 0)).chosen] == ["aa" * 32]


async def test_users_with_very_many_devices_are_split_off(
    targets: BroadcastTargets, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_devices, "LARGE_DEVICES", 1)
    await lay_users(redis_client, {"ann": [apple("aa" * 32)], "bob": [apple("bb" * 32), apple("cc" * 32)]})
    await lay_chunk(redis_client, 0, "ann", "bob", "nobody")
    large: list[str] = []
    found = await targets.of(PING_ID, 0, large)
    assert large == ["bob"]
    assert [one.device.pin for one in found.chosen] == ["aa" * 32]
    assert found.skipped == {user_devices.UNKNOWN_USER: 1}


async def test_a_chunk_that_redis_has_lost_is_reported(targets: BroadcastTargets) -> None:
    with capture_logs() as logs:
        found = await targets.of(PING_ID, 3)
    assert (found.chosen, found.skipped) == ([], {CHUNK_MISSING: 1})
    assert [(line["event"], line["chunk"]) for line in logs] == [("broadcast_chunk_missing", 3)]
