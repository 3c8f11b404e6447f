"""Data changes under load, and with gateways that are killed meanwhile.

The record contains the time of the last event of each user and source. A push's collapse id is its ping's id, which
begins with the epoch ms at which it was appended: each row of the record requires a push of that user with that
source, appended after it.
"""

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import LEASE_S
from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting, SimulatedRecord
from gateway.store import keys
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import until

CHANNEL = "rhoconnect:changes"
EVENTS = 5_000
USERS = 500
SOURCES = ("Product", "Order", "Visit")
WINDOW_MS = 250
TAKEN_OVER_S = LEASE_S * 1.5 + 15
"""An abandoned entry is taken over when its lease has ended and a consumer checks, every half lease."""
JITTER_MS = 100
"""Difference between a writer's clock and the script that opens the window."""


class Pushes:
    """Pushes that devices received: for each user, ping ids with their sources."""

    def __init__(self) -> None:
        self.of: dict[int, dict[str, frozenset[str]]] = defaultdict(dict)

    def note(self, record: SimulatedRecord) -> None:
        assert record.accepted, record
        ping = record.headers["apns-collapse-id"]
        self.of[int(record.token, 16)][ping] = frozenset(record.summary.do_sync)

    @property
    def pings(self) -> int:
        return sum(len(pings) for pings in self.of.values())


class Book:
    """The published events and their times."""

    def __init__(self) -> None:
        self.times: dict[int, list[int]] = defaultdict(list)
        self.last: dict[tuple[int, str], int] = {}

    def write(self, user: int, source: str) -> bytes:
        now_ms = time.time_ns() // 1_000_000
        self.times[user].append(now_ms)
        self.last[user, source] = now_ms
        return json.dumps({"source": source, "user_id": f"user{user}"}).encode()

    def missing(self, pushes: Pushes) -> int:
        """Number of rows without a push that was appended after them."""
        return sum(
            not any(
                source in sources and int(ping[:12], 16) >= at_ms for ping, sources in pushes.of[user].items()
            )
            for (user, source), at_ms in self.last.items()
        )

    @property
    def windows(self) -> int:
        """The most windows that are possible."""
        count = 0
        for times in self.times.values():
            over = -1
            for at_ms in times:
                if at_ms > over:
                    count += 1
                    over = at_ms + WINDOW_MS - JITTER_MS
        return count


@pytest.fixture
def store() -> Iterator[RedisServer]:
    with RedisServer("redis") as server:
        yield server


@asynccontextmanager
async def gateways(
    folder: Path, store: RedisServer, count: int, pushes: Pushes
) -> AsyncIterator[tuple[list[Gateway], Redis]]:
    """Gateways on one Redis, simulated providers, and a writer's client."""
    made: list[Gateway] = []
    hosting = Hosting(on_push=pushes.note)
    async with (
        ApnsSimulator(ApnsOptions(), hosting) as apns,
        FcmSimulator(options=FcmOptions(), hosting=hosting) as fcm,
        store_client(store.socket) as redis,
    ):
        await lay_users(redis, {f"user{n}": (apple(f"{n:064x}"),) for n in range(USERS)})
        settings: dict[str, Any] = provider_settings(apns, fcm, events={"window_ms": WINDOW_MS})
        sources = {name: {":push_notify": "true"} for name in SOURCES}
        try:
            for number in range(count):
                place = folder / str(number)
                place.mkdir()
                made.append(Gateway(place, settings, app={"redis": store.address}, sources=sources))
                await made[-1].start()
            await until(lambda: redis.hexists(keys.CHANGE_EVENTS, "mark"))
            yield made, redis
        finally:
            for gateway in made:
                await gateway.close()


async def publish(redis: Redis, book: Book, dice: random.Random, count: int, seconds: float) -> None:
    """Publish events of random users and sources at a constant rate."""
    begun, step = time.monotonic(), 100
    for done in range(0, count, step):
        async with redis.pipeline(transaction=False) as pipe:
            for _ in range(step):
                pipe.publish(CHANNEL, book.write(dice.randrange(USERS), dice.choice(SOURCES)))
            await pipe.execute()
        await asyncio.sleep(max(0.0, begun + seconds * (done + step) / count - time.monotonic()))


async def test_the_last_event_of_each_user_and_source_is_pushed(
    short_path: Path, store: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pushes, book = Pushes(), Book()
    async with gateways(short_path, store, 1, pushes) as (_, redis):
        await publish(redis, book, random.Random(1), EVENTS, 1.0)
        await until(lambda: not book.missing(pushes), 20)
        await idle(redis)
    with capsys.disabled():
        print(f"\n{EVENTS} events: {pushes.pings} pings of at most {book.windows} windows")
    assert USERS <= pushes.pings <= book.windows


async def test_the_last_event_is_pushed_although_one_of_two_gateways_is_killed(
    short_path: Path, store: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pushes, book = Pushes(), Book()
    async with gateways(short_path, store, 2, pushes) as (made, redis):
        holder = await redis.hget(keys.CHANGE_EVENTS, "holder")
        leader = next(one for one in made if (one.data_dir / "gateway_id").read_text().strip() in str(holder))
        writing = asyncio.create_task(publish(redis, book, random.Random(2), EVENTS, 1.0))
        await until(lambda: pushes.pings > USERS // 2)
        leader.kill_all()
        await leader.wait()
        # finds its own entries immediately; it may not store changes before the other one does
        await leader.start()
        await writing
        await until(lambda: not book.missing(pushes), TAKEN_OVER_S)
        assert await redis.hget(keys.CHANGE_EVENTS, "holder") != holder
        await idle(redis)
    with capsys.disabled():
        print(f"\n{EVENTS} events and a kill: {pushes.pings} pings of at most {book.windows} windows")
    assert USERS <= pushes.pings <= book.windows + USERS


async def test_the_last_event_is_pushed_after_a_short_outage_of_redis(
    short_path: Path, store: RedisServer
) -> None:
    pushes, book = Pushes(), Book()
    async with gateways(short_path, store, 1, pushes) as (made, redis):
        await publish(redis, book, random.Random(3), 500, 0.1)
        async with redis.pipeline(transaction=True) as pipe:  # no connection is established meanwhile
            pipe.client_kill_filter(_type="pubsub")
            pipe.client_kill_filter(_type="normal", skipme=True)
            pipe.pubsub_numsub(CHANNEL)
            *_, listeners = await pipe.execute()
        await until(lambda: listening(redis))
        await publish(redis, book, random.Random(4), 500, 0.1)
        await until(lambda: not book.missing(pushes), 20)
        metrics = (await made[0].request("GET", "/metrics")).body.decode()
    assert listeners[0][1] == 0
    deaf = [
        line
        for line in metrics.splitlines()
        if line.startswith("rhopush_change_events_unmonitored_seconds_total")
    ]
    assert float(deaf[0].split()[1]) > 0
    assert "change_events_missed" in made[0].log_tail(50_000)


async def listening(redis: Redis) -> bool:
    return bool((await redis.pubsub_numsub(CHANNEL))[0][1])


async def idle(redis: Redis) -> None:
    """Wait until no window is open and no ping is unfinished."""

    async def quiet() -> bool:
        return not await redis.zcard(keys.WINDOWS) and int(await redis.hget(keys.STATS, "pings") or 0) <= 0

    await until(quiet, 30)
