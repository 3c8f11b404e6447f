"""Clocks that are wrong by an hour and by a day, ahead and behind, from the start on and after a sudden change.

The providers' clocks are correct, and they refuse tokens of another time. After each change of the clock, pings
arrive, a push that is refused temporarily is repeated, and a receipt records it; in the end no push was lost or
repeated.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator, Hosting
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery
from tests.support.faketime import FakeTime
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import android, apple, lay_users

HOUR_S, DAY_S = 3_600, 86_400
PIN, REGISTRATION = "ab" * 32, "registration-of-bob"
PATIENCE_S = 30


class Stand:
    """A gateway whose clock, or whose Redis' clock, is set by the test, between providers with correct clocks."""

    def __init__(self, gateway: Gateway, redis: Redis, deliveries: Deliveries, apns: ApnsSimulator) -> None:
        self.gateway = gateway
        self.redis = redis
        self.deliveries = deliveries
        self.apns = apns
        self.pings: dict[str, str] = {}

    async def ping(self, alert: str) -> None:
        """Send a ping to both devices."""
        answer = await self.gateway.ping("bob", message=alert)
        assert answer.status == 200, answer.body
        self.pings[alert] = answer.ping_id

    async def pings_arrive(self, alert: str) -> None:
        """Send a ping that is accepted immediately and one that Apple accepts at its second attempt."""
        await self.ping(f"{alert}, at once")
        await self.arrived(f"{alert}, at once")
        self.apns.faults.add("503:next=1")
        await self.ping(f"{alert}, again")
        await self.arrived(f"{alert}, again")

    async def arrived(self, alert: str) -> None:
        await self.deliveries.has(Delivery(alert, to) for to in (PIN, REGISTRATION))

    async def all_told(self) -> None:
        """Check that every ping has a receipt of two accepted deliveries, no push was repeated, and no work is left."""
        for alert, ping_id in self.pings.items():
            async with asyncio.timeout(PATIENCE_S):
                while (report := await self._report(ping_id))["state"] != "done":
                    await asyncio.sleep(0.02)
            assert report["counts"] == {"accepted": 2, "rejected": 0, "later": 0}, (alert, report)
        self.pings.clear()
        assert self.deliveries.repeats == 0
        assert await self.redis.zcard(keys.SCHEDULE) == 0
        assert int(await self.redis.hget(keys.STATS, "pings") or 0) == 0

    async def _report(self, ping_id: str) -> dict[str, Any]:
        answer = await self.gateway.request("GET", f"/rc/v1/pings/{ping_id}")
        assert answer.status == 200, (ping_id, answer)
        return dict(answer.json())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The gateway's log lines with this event name."""
        lines = [json.loads(line) for line in self.gateway.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["event"] == event]

    async def logs(self, event: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.logged(event):
                await asyncio.sleep(0.02)

    async def jumps_noticed(self, count: int, *, workers: int) -> None:
        """Wait until every worker logged this number of jumps of Redis' clock.

        A worker reads that clock a few times a second. It detects neither of two opposite jumps between two
        readings.
        """
        expected = dict.fromkeys(range(workers), count)
        async with asyncio.timeout(PATIENCE_S):
            while Counter(line["worker"] for line in self.logged("redis_clock_jumped")) != Counter(expected):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def standing(
    folder: Path, store: RedisServer | None, environ: dict[str, str], *, workers: int = 1
) -> AsyncIterator[Stand]:
    deliveries = Deliveries()
    hosting = Hosting(on_push=deliveries.note)
    async with ApnsSimulator(hosting=hosting) as apns, FcmSimulator(hosting=hosting) as fcm:
        retry = {"apns_5xx_s": 0.3, "unknown_s": 0.3, "jitter": 0.0}
        settings = provider_settings(apns, fcm, retry=retry, drain_s=1)
        app = {"redis": store.address} if store is not None else {}
        gateway = Gateway(folder, settings, app=app, environ=environ, workers=workers)
        try:
            await gateway.start()
            socket = store.socket if store is not None else gateway.data_dir / "valkey" / "valkey.sock"
            async with store_client(socket) as redis:
                await lay_users(redis, {"bob": (apple(PIN), android(REGISTRATION))})
                yield Stand(gateway, redis, deliveries, apns)
        finally:
            await gateway.close()


def jumps(*offsets_s: int) -> list[tuple[int, str]]:
    return [(offset_s, f"{number}: {offset_s:+d} s") for number, offset_s in enumerate(offsets_s)]


async def at_the_same_time(
    folder: Path, run: Callable[[Path, int], Awaitable[int]], *starts_s: int
) -> list[int]:
    """The result of a run with each of these clocks at its start; most of the time is spent on waiting."""

    async def one(start_s: int) -> int:
        place = folder / f"{start_s}"
        place.mkdir()
        return await run(place, start_s)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(start_s), name=f"{start_s} s") for start_s in starts_s]
    return [task.result() for task in tasks]


async def test_a_wrong_clock_of_the_gateway_has_no_effect(short_path: Path) -> None:
    """The gateway's clock has no effect, not even on a token."""
    refused = await at_the_same_time(short_path, with_a_wrong_clock_of_the_gateway, -DAY_S, HOUR_S)
    assert refused == [3, 3], "each ping's first push is refused once"


async def with_a_wrong_clock_of_the_gateway(folder: Path, start_s: int) -> int:
    """Jump three times, with a ping after each jump; the number of refused pushes."""
    clock = FakeTime(folder)
    clock.set(start_s)
    with RedisServer("valkey") as store:
        async with standing(folder, store, clock.environ) as stand:
            for offset_s, alert in jumps(start_s, 0, -start_s):
                clock.set(offset_s)
                await stand.pings_arrive(alert)
            await stand.all_told()
            await stand.logs("clock_skew_detected")
            return stand.deliveries.refused


async def test_a_wrong_clock_of_redis_is_followed(short_path: Path) -> None:
    """Only a token of the wrong time is refused, once in each worker, and then the gateway's own clock counts."""
    suspected = await at_the_same_time(short_path, with_a_wrong_clock_of_redis, -HOUR_S, DAY_S)
    assert max(suspected) <= 4


async def with_a_wrong_clock_of_redis(folder: Path, start_s: int) -> int:
    """Jump four times, with a ping after each jump; how often two workers suspected their own clock."""
    clock = FakeTime(folder)
    clock.set(start_s)
    with RedisServer("valkey", environ=clock.environ) as store:
        async with standing(folder, store, {}, workers=2) as stand:
            for jump_count, (offset_s, alert) in enumerate(jumps(start_s, 0, -start_s, 0)):
                clock.set(offset_s)
                await stand.pings_arrive(alert)
                await stand.all_told()
                await stand.jumps_noticed(jump_count, workers=2)
            assert not stand.logged("entries_taken_over")
            return len(stand.logged("clock_skew_suspected"))


async def test_pushes_arrive_once_the_common_clock_of_redis_and_gateway_is_correct(short_path: Path) -> None:
    """Google's responses contain the time. Apple's do not: pushes to Apple arrive once the clock is correct, and no
    later jump changes a valid token."""
    refusals = await at_the_same_time(short_path, with_the_clock_of_a_host_with_both, -HOUR_S, DAY_S)
    assert refusals == [1, 1]


async def with_the_clock_of_a_host_with_both(folder: Path, start_s: int) -> int:
    """Begin with a wrong clock, then correct it and jump three times; how often Apple refused the credential."""
    clock = FakeTime(folder)
    clock.set(start_s)
    async with standing(folder, None, clock.environ) as stand:
        await stand.ping("wrong")
        await stand.deliveries.has([Delivery("wrong", REGISTRATION)])
        await stand.logs("credential_refused")
        clock.set(0)
        await stand.arrived("wrong")
        await stand.all_told()
        for offset_s, alert in jumps(-start_s, 0, start_s):
            clock.set(offset_s)
            await stand.pings_arrive(alert)
            await stand.all_told()
        return len(stand.logged("credential_refused"))
