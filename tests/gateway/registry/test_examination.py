"""Devices in full, with marks and with clients that are gone."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.registry import token_marks
from gateway.registry.examination import Examination
from gateway.registry.registry import DeviceRegistry
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.errors import BodyTooLarge
from tests.support.rhoconnect import apple, lay_user

PIN = "ab" * 32


@pytest.fixture
async def examination(redis_address: str) -> AsyncIterator[Examination]:
    connection = RedisConnection(RedisAddress.parse(redis_address), "registry")
    await connection.open(30)
    yield Examination(DeviceRegistry(connection), connection)
    await connection.close()


async def test_a_marked_client_keeps_its_fields_and_a_missing_one_is_gone(
    examination: Examination, redis_client: Redis
) -> None:
    device = apple(PIN)
    await lay_user(redis_client, "bob", [device])
    before, after = token_marks.around(PIN, "Unregistered", 5, ())
    await redis_client.set(keys.dead(device.client_id), f"{before}da39a3ee{after}")
    (registration,) = await examination.registrations(["bob"], 1)
    assert registration.left_out == (device.client_id,)
    marked, missing = await examination.clients([device.client_id, "missing"])
    assert (marked.device.pin, marked.gone) == (PIN, False)
    assert marked.mark == token_marks.MarkFacts("Unregistered", 5)
    assert (missing.gone, missing.mark) == (True, None)
    assert await examination.clients([]) == []


async def test_a_user_with_very_many_devices_is_read_whole_or_refused(
    examination: Examination, redis_client: Redis
) -> None:
    await lay_user(redis_client, "bob", [apple(f"{number:064x}") for number in range(100)])
    (registration,) = await examination.registrations(["bob"], 100)
    assert len(registration.devices) == 100
    with pytest.raises(BodyTooLarge, match="100 devices") as refused:
        await examination.registrations(["bob"], 99)
    assert refused.value.field == "user_id"
