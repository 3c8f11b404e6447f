"""The release of scheduled pings: at their instant, in order, in small steps, and once."""

import asyncio

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.queue import schedule
from gateway.queue.consumer import Streams
from gateway.queue.entries import Entry, read_broadcast, read_entry
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.instants import instant_text
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink

ROOMY = BacklogLimits(1_000_000, 1_000_000_000)
BOB = Ping(users=("bob",), message="hello")
HOUR_MS = 3_600_000


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, ROOMY)


@pytest.fixture
async def scheduled(connection: RedisConnection, queue: QueueProducer) -> ScheduleProducer:
    await Streams(connection, "tested", 60).read_clock()
    return ScheduleProducer(connection, ROOMY, queue)


def soon_ms() -> int:
    """An instant that the tests do not wait for: `make_due` moves it."""
    return SHARED_CLOCK.now_ms() + HOUR_MS


async def add(scheduled: ScheduleProducer, ping: Ping = BOB, *, count: int = 1, due_ms: int = 0) -> list[str]:
    done: list[object] = []
    at = scheduled.at(due_ms or soon_ms())
    ids = [at.submit(ping, 10, done.append) for _ in range(count)]
    await scheduled.close()
    assert done == [None] * count
    return ids


async def make_due(redis: Redis) -> None:
    async for name, score in redis.zscan_iter(keys.SCHEDULED_PINGS):
        await redis.zadd(keys.SCHEDULED_PINGS, {name: score - 2 * HOUR_MS})


async def now_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def stats(redis: Redis) -> dict[str, int]:
    """The counts, without the measurements of the release."""
    found = {name.decode(): int(value) for name, value in (await redis.hgetall(keys.STATS)).items()}
    return {name: value for name, value in found.items() if not name.startswith("release_")}


async def test_nothing_is_released_before_its_instant(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    await add(scheduled)
    assert await schedule.release(connection) == 0
    assert await redis_client.exists(keys.PINGS) == 0
    assert await schedule.depth(connection) == schedule.ScheduleDepth(1, 10)


async def test_a_released_ping_is_an_entry_with_its_id_and_the_instant_of_its_release(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    ids = await add(scheduled, count=3)
    await make_due(redis_client)
    before_ms = await now_ms(redis_client)
    assert await schedule.release(connection) == 3
    ((_, fields),) = await redis_client.xrange(keys.PINGS)
    entry = read_entry(fields[b"e"])
    assert [f"{entry.batch_id}{place:04x}" for place in range(3)] == ids
    assert before_ms <= entry.accepted_ms <= await now_ms(redis_client)
    assert entry.pings == (BOB,) * 3
    assert fields == {b"e": msgspec.msgpack.encode(entry), b"n": b"3", b"s": b"30"}
    assert await stats(redis_client) == {"pings": 3, "bytes": 30, "scheduled_pings": 0, "scheduled_bytes": 0}
    assert await redis_client.exists(keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES) == 0


async def test_a_broadcast_goes_to_its_own_stream_and_its_users_live_until_then(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    users = tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1))
    (ping_id,) = await add(scheduled, Ping(users=users))
    assert await redis_client.ttl(keys.broadcast_users(ping_id)) == -1
    await make_due(redis_client)
    assert await schedule.release(connection) == 1
    ((_, fields),) = await redis_client.xrange(keys.BROADCASTS)
    entry = read_broadcast(fields[b"e"])
    assert (f"{entry.batch_id}0000", entry.chunk_count) == (ping_id, 1)
    assert 0 < await redis_client.ttl(keys.broadcast_users(ping_id)) <= keys.BROADCAST_S
    assert await redis_client.exists(keys.PINGS) == 0


async def test_pings_are_released_in_order_behind_the_waiting_pings(
    scheduled: ScheduleProducer, queue: QueueProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    late = await add(scheduled, due_ms=soon_ms() + 2)
    early = await add(scheduled, due_ms=soon_ms() - HOUR_MS // 2)
    waiting = (await queue.append(BOB, 10)).ping_id
    await make_due(redis_client)
    await schedule.release(connection)
    batches = [read_entry(fields[b"e"]).batch_id for _, fields in await redis_client.xrange(keys.PINGS)]
    assert batches == [one[:28] for one in (waiting, *early, *late)]


async def test_many_pings_of_one_instant_do_not_lengthen_the_queue(
    scheduled: ScheduleProducer, queue: QueueProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    """A small ping has at most `RELEASED_LEAST` before it while no ping is finished; all are released in the end."""
    at, total = scheduled.at(soon_ms()), 100_000
    for _ in range(total // 1_000):
        for _ in range(1_000):
            at.submit(BOB, 10, lambda _: None)
        await scheduled.close()
    assert (await schedule.depth(connection)).pings == total
    await make_due(redis_client)
    for _ in range(3):
        await schedule.release(connection)
    before = sum(int(fields[b"n"]) for _, fields in await redis_client.xrange(keys.PINGS))
    small = (await queue.append(BOB, 10)).ping_id
    assert before == schedule.RELEASED_LEAST
    released = before
    while (await schedule.depth(connection)).pings:
        entries = await redis_client.xrange(keys.PINGS)
        await redis_client.xdel(keys.PINGS, *(entry for entry, _ in entries))
        await redis_client.hset(keys.STATS, "pings", 0)
        released += await schedule.release(connection)
    assert released == total
    assert small


async def test_a_long_queue_delays_no_scheduled_ping_forever(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    await add(scheduled, count=2 * schedule.RELEASED_LEAST)
    await make_due(redis_client)
    await redis_client.hset(keys.STATS, "pings", 10 * schedule.RELEASED_PINGS)
    assert await schedule.release(connection) == schedule.RELEASED_LEAST
    assert await schedule.release(connection) == 0
    await redis_client.hincrby(keys.STATS, "release_last", -schedule.RELEASE_PAUSES_MS[1])
    assert await schedule.release(connection) == schedule.RELEASED_LEAST


@pytest.mark.parametrize(("finished", "most"), [(0, 0), (1_000, 800), (20_000, 1_800)])
async def test_a_step_releases_what_the_gateways_finish_in_the_window(
    scheduled: ScheduleProducer,
    connection: RedisConnection,
    redis_client: Redis,
    finished: int,
    most: int,
) -> None:
    """Some pings are unfinished, and so many were finished since the step before, which was the window ago."""
    await add(scheduled, count=schedule.RELEASED_PINGS)
    await make_due(redis_client)
    at_ms, left = await now_ms(redis_client), schedule.RELEASED_LEAST
    held = {"release_held": left + finished, "release_step": at_ms - schedule.RELEASE_WINDOW_MS}
    await redis_client.hset(keys.STATS, mapping={"pings": left, "release_last": at_ms, **held})
    released = await schedule.release(connection)
    assert most // 2 <= released <= most


async def test_several_gateways_release_each_ping_once(
    scheduled: ScheduleProducer, make_link: MakeLink, redis_client: Redis
) -> None:
    ids = [one for n in range(20) for one in await add(scheduled, count=5, due_ms=soon_ms() + n)]
    await make_due(redis_client)
    gateways = [await make_link(f"gateway{n}") for n in range(4)]
    released = await asyncio.gather(*(schedule.release(one) for one in gateways for _ in range(5)))
    assert sum(released) == len(ids)
    found = [read_entry(fields[b"e"]) for _, fields in await redis_client.xrange(keys.PINGS)]
    assert sorted(f"{entry.batch_id}{n:04x}" for entry in found for n in range(len(entry.pings))) == sorted(
        ids
    )


async def test_a_batch_without_a_body_is_reported(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    (ping_id,) = await add(scheduled)
    await redis_client.delete(keys.SCHEDULED_BODIES)
    await make_due(redis_client)
    await schedule.release(connection)
    ((_, fields),) = await redis_client.xrange(keys.PINGS)
    assert fields == {b"e": b"", b"n": b"0", b"s": b"0", b"name": ping_id[:28].encode()}
    assert await schedule.depth(connection) == schedule.ScheduleDepth(0, 0)


async def test_the_receipt_says_scheduled_then_queued(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    due_ms = soon_ms()
    (ping_id,) = await add(scheduled, due_ms=due_ms)
    receipts = Receipts(connection)
    report = await receipts.report(ping_id)
    assert report is not None
    assert (report["state"], report["deliver_at"]) == ("scheduled", instant_text(due_ms))
    await make_due(redis_client)
    await schedule.release(connection)
    report = await receipts.report(ping_id)
    assert report is not None
    assert report["state"] == "queued"
    assert "deliver_at" not in report
    assert await redis_client.ttl(keys.marker(ping_id[:28], 0)) > keys.MARKER_S


def test_the_instant_stands_at_its_offset_in_an_entry() -> None:
    packed = msgspec.msgpack.encode(Entry("a" * 28, 1_796_119_200_000, ()))
    assert packed[schedule.INSTANT_AT :].startswith(msgspec.msgpack.encode(1_796_119_200_000))


async def test_a_clock_that_was_set_back_delays_no_scheduled_ping(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    await add(scheduled)
    await make_due(redis_client)
    later_ms = await now_ms(redis_client) + HOUR_MS
    mapping = {"pings": 10 * schedule.RELEASED_PINGS, "release_last": later_ms}
    await redis_client.hset(keys.STATS, mapping=mapping)
    assert await schedule.release(connection) == 1


@pytest.mark.parametrize(("more", "released"), [(0, 0), (-1, schedule.RELEASED_LEAST)])
async def test_a_very_long_queue_has_the_longer_pause(
    scheduled: ScheduleProducer,
    connection: RedisConnection,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    more: int,
    released: int,
) -> None:
    monkeypatch.setattr(schedule, "RELEASE_PAUSES_MS", (0, HOUR_MS))
    await add(scheduled, count=schedule.RELEASED_LEAST)
    await make_due(redis_client)
    at_ms = await now_ms(redis_client)
    mapping = {"pings": schedule.RELEASED_PINGS + more, "release_last": at_ms}
    await redis_client.hset(keys.STATS, mapping=mapping)
    assert await schedule.release(connection) == released


async def test_the_counts_of_the_pings_that_still_wait(
    scheduled: ScheduleProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    await add(scheduled, count=3)
    await make_due(redis_client)
    await add(scheduled, count=2)
    assert await schedule.release(connection) == 3
    assert await schedule.depth(connection) == schedule.ScheduleDepth(2, 20)
