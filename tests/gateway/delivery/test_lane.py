"""A ping that lives for no time has its one try; what was only parked was not tried."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.delivery.batch import Postponed
from gateway.queue.entries import decode_chunk
from gateway.simulators import ApnsOptions, ApnsSimulator
from gateway.store import keys
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker_core import now_ms, pipeline, until

PIN = "ab" * 32


async def test_a_time_to_live_of_0_has_an_immediate_attempt(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("bob", ttl_s=0)
        await one.planner.deliver(await one.read(keys.PINGS))
        assert (await one.done(ping_id))["counts"]["accepted"] == 1
    (record,) = apns.received
    assert record.headers["apns-expiration"] == "0"


async def test_a_time_to_live_of_0_has_no_second_attempt(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with ApnsSimulator(ApnsOptions(faults=("503:next=1",))) as apns:
        settings["apns"] |= {
            "port": apns.port,
            "ca_file": str(apns.ca_file),
            "key_file": str(apns.key_file),
            "key_id": apns.signing_key.key_id,
            "team_id": apns.signing_key.team_id,
        }
        async with pipeline(redis_address, tmp_path, settings) as one:
            ping_id = await one.append("bob", ttl_s=0)
            await one.planner.deliver(await one.read(keys.PINGS))
            report = await one.done(ping_id)
        assert report["devices"][0]["reason"] == "expired"
        assert apns.received.total == 1


async def test_a_time_to_live_of_0_has_no_late_attempt(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    await lay_user(redis_client, "bob", [apple(PIN)])
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append("bob", ttl_s=0)
        (lease,) = await one.read(keys.PINGS)
        batch, _, pings, chunks = msgspec.msgpack.decode(lease.payload)
        old = msgspec.msgpack.encode((batch, now_ms() - 11_000, pings, chunks))
        await one.planner.deliver([lease._replace(payload=old)])
        assert (await one.done(ping_id))["devices"][0]["reason"] == "expired"
    assert apns.received.total == 0


@pytest.mark.parametrize("lane", ["", "apns:KEY"])
async def test_a_parked_delivery_has_no_first_attempt(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], lane: str
) -> None:
    """Else the hours that a provider was down would count against `retry.give_up_s`."""

    async with pipeline(redis_address, tmp_path, settings) as one:
        await one.queue.append(Ping(users=("bob",), message="hello"), 10)
        (lease,) = await one.read(keys.PINGS)
        batch, _ = one.planner._open(lease)
        batch.begin_ping({})
        index = batch.add_delivery("phone", "apns")
        batch.postpone(index, Verdict(VerdictKind.LATER, "x"), Postponed(now_ms(), 0, lane))
        batch.finish_planning()
        await until(lambda: one.in_flight.empty)
        (body,) = await redis_client.hvals(keys.SCHEDULE_BODIES)
    assert (decode_chunk(body).first_ms == 0) is bool(lane)
