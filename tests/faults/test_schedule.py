"""Scheduled pings while the gateway is killed, Redis is restarted and Redis' clock is set: none lost, none doubled."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator, Hosting
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery
from tests.support.faketime import FakeTime
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import apple, lay_users

HOUR_S = 3_600
PIN = "ab" * 32
PINGS = 300
STREAMS = 40
SAVED_WITHIN_S = 0.05
PATIENCE_S = 60


@asynccontextmanager
async def running(folder: Path, store: RedisServer, deliveries: Deliveries) -> AsyncIterator[Gateway]:
    hosting = Hosting(on_push=deliveries.note)
    async with (
        ApnsSimulator(ApnsOptions(streams=STREAMS), hosting) as apns,
        FcmSimulator(hosting=hosting) as fcm,
    ):
        settings = provider_settings(apns, fcm, retry={"unknown_s": 0.3, "jitter": 0.0}, drain_s=1)
        settings["apns"]["connections_max"] = 1
        gateway = Gateway(folder, settings, app={"redis": store.address}, workers=1)
        try:
            await gateway.start()
            async with store_client(store.socket) as redis:
                await lay_users(redis, {"bob": (apple(PIN),)})
            yield gateway
        finally:
            await gateway.close()


async def redis_now_s(store: RedisServer) -> int:
    async with store_client(store.socket) as redis:
        return int((await redis.time())[0])


async def schedule(gateway: Gateway, alert: str, at_s: float) -> str:
    answer = await gateway.ping("bob", message=alert, deliver_at=at_s)
    assert answer.status == 200, answer.body
    return answer.ping_id


async def schedule_all(gateway: Gateway, alerts: Sequence[str], at_s: float) -> None:
    """Schedule many pings, over few connections."""
    headers = {"X-RhoConnect-API-TOKEN": gateway.token}
    async with aiohttp.ClientSession(gateway.url, headers=headers) as session:

        async def one(alert: str) -> None:
            ping = {"user_id": "bob", "message": alert, "deliver_at": at_s}
            async with session.post("/rc/v1/users/ping", json=ping) as answer:
                assert answer.status == 200, await answer.text()

        await asyncio.gather(*(one(alert) for alert in alerts))


async def state(gateway: Gateway, ping_id: str) -> str:
    answer = await gateway.request("GET", f"/rc/v1/pings/{ping_id}")
    assert answer.status == 200, (ping_id, answer)
    return str(answer.json()["state"])


async def reaches(gateway: Gateway, ping_id: str, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await state(gateway, ping_id) != wanted:
            await asyncio.sleep(0.02)


async def jumps_noticed(gateway: Gateway, count: int) -> None:
    """Wait until the worker's reading of Redis' clock follows its changes: some tenths of a second."""
    async with asyncio.timeout(PATIENCE_S):
        while gateway.log.read_text().count("redis_clock_jumped") < count:
            await asyncio.sleep(0.02)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


async def test_kill_9_before_and_at_the_instant_loses_and_duplicates_nothing(
    kind: str, short_path: Path
) -> None:
    deliveries = Deliveries()
    with RedisServer(kind) as store:
        async with running(short_path, store, deliveries) as gateway:
            at_s = await redis_now_s(store) + 5
            alerts = [f"ping {number}" for number in range(PINGS)]
            await schedule_all(gateway, alerts, at_s)
            assert not deliveries.counts
            gateway.kill_all()
            await gateway.wait()
            await gateway.start()
            await deliveries.reach(1)
            for pid in gateway.workers:  # while some are released and some are not
                gateway.kill(pid)
            await deliveries.has(Delivery(alert, PIN) for alert in alerts)
        assert deliveries.repeats <= STREAMS + deliveries.busiest(SAVED_WITHIN_S)


async def test_scheduled_pings_survive_a_restart_of_redis(kind: str, short_path: Path) -> None:
    deliveries = Deliveries()
    with RedisServer(kind, persist=True, options={"appendfsync": "always"}) as store:
        async with running(short_path, store, deliveries) as gateway:
            at_s = await redis_now_s(store) + 2
            ids = [await schedule(gateway, f"ping {number}", at_s) for number in range(5)]
            store.kill()
            store.start()
            await deliveries.has(Delivery(f"ping {number}", PIN) for number in range(5))
            for ping_id in ids:
                await reaches(gateway, ping_id, "done")
    assert deliveries.repeats == 0


async def test_the_clock_of_redis_alone_decides(short_path: Path) -> None:
    """Set forward, the pings of the skipped hour are delivered; set back, they are not delivered again.

    Only with Valkey: Debian's Redis does not start with libfaketime.
    """
    clock, deliveries = FakeTime(short_path), Deliveries()
    with RedisServer("valkey", environ=clock.environ) as store:
        async with running(short_path, store, deliveries) as gateway:
            now_s = await redis_now_s(store)
            early = await schedule(gateway, "early", now_s + HOUR_S // 2)
            late = await schedule(gateway, "late", now_s + 2 * HOUR_S)
            assert [await state(gateway, one) for one in (early, late)] == ["scheduled", "scheduled"]
            clock.set(HOUR_S)
            await reaches(gateway, early, "done")
            await jumps_noticed(gateway, 1)
            clock.set(0)
            await jumps_noticed(gateway, 2)
            again = await schedule(gateway, "again", now_s + HOUR_S // 2)
            assert [await state(gateway, one) for one in (again, late)] == ["scheduled", "scheduled"]
            clock.set(3 * HOUR_S)
            await deliveries.has(Delivery(alert, PIN) for alert in ("early", "late", "again"))
            async with store_client(store.socket) as redis:
                assert await redis.exists(keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES) == 0
    assert deliveries.repeats == 0
