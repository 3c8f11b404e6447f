"""Foreign and missing data in Redis stops no ping."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator
from gateway.store import keys
from tests.support.rhoconnect import Client, apple, lay_user, lay_users
from tests.support.worker_core import WorkerCore, pipeline, until

PIN = "ab" * 32
BINARY = b"\xff\xfe\x80"


async def _lay_binary(redis: Redis, login: str, field: str) -> None:
    """A user with a good device, and one that has bytes which are no UTF-8 in one field or as its id."""
    await lay_user(redis, login, [apple(PIN)])
    odd = apple("cd" * 32, client_id="0f" * 16)
    name = BINARY if field == "id" else odd.client_id.encode()
    for key, value in odd.keys(login).items():
        which = key.rpartition(":")[2]
        text = BINARY if which == field else value.encode()
        await redis.set(b"client:" + name + b":" + which.encode(), text)
    await redis.sadd(f"user:{login}:clients", name)


@pytest.mark.parametrize("field", ["id", "device_pin", "phone_id", "device_app_id", "device_type"])
@pytest.mark.parametrize("others", [0, keys.BROADCAST_USERS])
async def test_invalid_utf_8_does_not_delay_other_users(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    field: str,
    others: int,
) -> None:
    await _lay_binary(redis_client, "bob", field)
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("bob", *(f"nobody{n}" for n in range(others)))
        one.consumer.start()
        await until(lambda: _finished(one, ping_id))
        await one.consumer.close()
        report = await one.report(ping_id)
    assert PIN in {record.token for record in apns.received}
    assert report["counts"]["accepted"] >= 1


async def test_a_broadcast_with_lost_users_ends_and_reports_them(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append(*(f"user{n}" for n in range(keys.CHUNK_USERS + 1)))
        await redis_client.delete(keys.broadcast_users(ping_id))
        one.consumer.start()
        await until(lambda: _finished(one, ping_id))
        await one.consumer.close()
        assert (await one.report(ping_id))["skipped"] == {"lost_part": 2}


async def test_dead_devices_with_odd_ids_are_marked(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    """The id of a device is whatever RhoConnect holds, not only hex."""
    odd = Client(client_id="gerät 1", device_type="Apple", push_type="apple", pin=PIN)
    await lay_users(redis_client, {"bob": [odd]})
    async with pipeline(redis_address, tmp_path, settings) as one:
        device = (await one.registry.devices_of(["bob"]))[0].devices[0]
        assert await one.registry.mark_dead(device, "Unregistered", None, 1)
        assert (await one.registry.devices_of(["bob"]))[0].dead == 1


async def _finished(one: WorkerCore, ping_id: str) -> bool:
    report = await one.receipts.report(ping_id)
    return report is not None and report["state"] == "done"
