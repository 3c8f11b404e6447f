"""The limits to apps of pings that have no verdict yet."""

import time

import pytest
from redis.asyncio import Redis

from gateway.queue.append_batch import Accepted
from gateway.queue.consumer import Streams
from gateway.queue.ping_queue import BacklogLimits, PendingAppend
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.queue.waiting_pings import waiting_apps
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping

LIMITS = BacklogLimits(10**6, 10**9)


@pytest.mark.parametrize("users", [1, keys.BROADCAST_USERS + 1])
@pytest.mark.parametrize("apps", [None, ("a", "b")])
@pytest.mark.parametrize("scheduled", [False, True])
async def test_a_ping_that_waits_has_its_limit(
    connection: RedisConnection, users: int, apps: tuple[str, ...] | None, scheduled: bool
) -> None:
    await Streams(connection, "tested", 60).read_clock()
    queue = QueueProducer(connection, LIMITS)
    ping = Ping(users=tuple(f"user{number}" for number in range(users)), message="hello", apps=apps)
    if scheduled:
        ScheduleProducer(connection, LIMITS, queue)
        pending = PendingAppend(queue.at(int(time.time() * 1000) + 3_600_000), ping, 100)
        assert isinstance(await pending.outcome(), Accepted)
        ping_id = pending.ping_id
    else:
        ping_id = (await queue.append(ping, 100)).ping_id
    assert await waiting_apps(connection, ping_id[:28], 0) == apps
    assert await waiting_apps(connection, ping_id[:28], 1) is None
    assert await waiting_apps(connection, "0" * 28, 0) is None
    assert await Receipts(connection).waiting_apps(ping_id) == apps
    assert await Receipts(connection).waiting_apps("no id") is None


@pytest.mark.parametrize("users", [1, keys.BROADCAST_USERS + 1])
async def test_a_ping_that_waits_longer_than_its_marker_lives_has_its_limit(
    connection: RedisConnection, redis_client: Redis, users: int
) -> None:
    await Streams(connection, "tested", 60).read_clock()
    queue = QueueProducer(connection, LIMITS)
    names = tuple(f"user{number}" for number in range(users))
    ping_id = (await queue.append(Ping(users=names, message="hello", apps=("a",)), 100)).ping_id
    await redis_client.delete(keys.marker(ping_id[:28], 0))
    receipts = Receipts(connection)
    assert await receipts.waiting_apps(ping_id) == ("a",)
    assert await receipts.waiting_apps(f"{ping_id[:28]}0001") is None
    report = await receipts.report(ping_id)
    assert report is not None
    assert report["state"] == "queued"
    assert await receipts.report(f"{ping_id[:28]}0001") is None


async def test_an_entry_that_cannot_be_read_has_no_limit(
    connection: RedisConnection, redis_client: Redis
) -> None:
    batch = "0" * 28
    entry = await redis_client.xadd(keys.PINGS, {"e": batch + "junk", "n": 1, "s": 1})
    await redis_client.set(keys.marker(batch, 0), entry)
    await redis_client.hset(keys.SCHEDULED_BODIES, batch, b"1 2 p junk")
    assert await waiting_apps(connection, batch, 0) is None
    await redis_client.hset(keys.SCHEDULED_BODIES, batch, b"junk")
    assert await waiting_apps(connection, batch, 0) is None
