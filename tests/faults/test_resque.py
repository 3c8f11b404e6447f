"""Resque's jobs while the gateway is killed: none is lost, and Resque's own counters are correct."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from tests.faults.load import Deliveries, Delivery
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.resque import enqueue, overview
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import until

JOBS = 2_000
USERS = 100
MALFORMED = b'{"class":"Rhoconnect::PingJob","args":"user1"}'
KILLS = 3
STREAMS = 100
"""Pushes in flight: one worker with one connection."""
SAVED_WITHIN_S = 0.05


@pytest.fixture(params=["valkey", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as server:
        yield server


def phone(user: int) -> str:
    return f"{user:064x}"


async def test_no_job_is_lost_when_the_gateway_is_killed(
    short_path: Path, store: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    deliveries, dice = Deliveries(), random.Random(7)
    hosting = Hosting(on_push=deliveries.note)
    async with (
        ApnsSimulator(ApnsOptions(streams=STREAMS), hosting) as apns,
        FcmSimulator(options=FcmOptions(), hosting=hosting) as fcm,
        store_client(store.socket) as redis,
    ):
        await lay_users(redis, {f"user{n}": (apple(phone(n)),) for n in range(USERS)})
        half = JOBS // 2
        await enqueue(store.socket, [job(n) for n in range(half)])
        await redis.rpush("resque:queue:ping", MALFORMED)
        await enqueue(store.socket, [job(n) for n in range(half, JOBS)])
        settings = provider_settings(apns, fcm, retry={"unknown_s": 0.5})
        settings["apns"]["connections_max"] = 1
        gateway = Gateway(short_path, settings, app={"redis": store.address})
        try:
            await gateway.start()
            for turn in range(KILLS):
                wanted = (turn + 1) * JOBS // 5 + dice.randrange(JOBS // 10)
                await until(lambda wanted=wanted: reached(redis, wanted))
                gateway.kill_all()
                await gateway.wait()
                await gateway.start()
            await until(lambda: reached(redis, JOBS + 1), 60)
            await deliveries.has(Delivery(f"job {n}", phone(n % USERS)) for n in range(JOBS))
            shown = await overview(store.socket)
        finally:
            await gateway.close()
    bound = KILLS * (STREAMS + deliveries.busiest(SAVED_WITHIN_S))
    with capsys.disabled():
        print(
            f"\n{JOBS} jobs, {KILLS} kills: {len(deliveries.counts)} pushes,"
            f" {deliveries.repeats} repeated (at most {bound})"
        )
    assert deliveries.repeats <= bound
    assert len(deliveries.counts) == JOBS
    assert (shown["processed"], shown["failed"], shown["pending"]) == (JOBS + 1, 1, {"ping": 0})
    assert [one["error"] for one in shown["failures"]] == [
        "the job's args must be a list with one hash of parameters"
    ]
    assert len(shown["workers"]) == 1, "a killed worker is still shown"


def job(number: int) -> dict[str, object]:
    return {"user_id": [f"user{number % USERS}"], "message": f"job {number}", "async": True}


async def reached(redis: Redis, wanted: int) -> bool:
    return int(await redis.get("resque:stat:processed") or 0) >= wanted
