"""The way into the schedule: instants, limits, Idempotency-Keys and lost replies."""

from unittest.mock import ANY

import pytest
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.errors import RhoPushError, ScheduleFull
from gateway.queue import schedule
from gateway.queue.append_batch import Accepted, IdempotencyKey
from gateway.queue.consumer import Streams
from gateway.queue.ping_queue import BacklogLimits, PendingAppend
from gateway.queue.producer import QueueProducer
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.errors import InvalidField
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer

ROOMY = BacklogLimits(1_000_000, 1_000_000_000)
BOB = Ping(users=("bob",), message="hello")
KEY = IdempotencyKey(b"scope", b"body")
HOUR_MS = 3_600_000
AHEAD_MS = keys.SCHEDULE_AHEAD_S * 1000


async def producer(connection: RedisConnection, limits: BacklogLimits = ROOMY) -> QueueProducer:
    """A queue with a schedule of these limits."""
    await Streams(connection, "tested", 60).read_clock()
    queue = QueueProducer(connection, ROOMY)
    ScheduleProducer(connection, limits, queue)
    return queue


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return await producer(connection)


async def add(
    queue: QueueProducer, due_ms: int, key: IdempotencyKey | None = None
) -> Accepted | RhoPushError:
    return await PendingAppend(queue.at(due_ms), BOB, 10, key).outcome()


async def test_an_instant_in_the_past_means_now(queue: QueueProducer, redis_client: Redis) -> None:
    for due_ms in (0, SHARED_CLOCK.now_ms()):
        assert queue.at(due_ms) is queue
    await add(queue, 0)
    assert await redis_client.xlen(keys.PINGS) == 1
    assert await redis_client.exists(keys.SCHEDULED_PINGS) == 0


async def test_an_instant_is_at_most_thirty_days_ahead(queue: QueueProducer) -> None:
    await add(queue, SHARED_CLOCK.now_ms() + AHEAD_MS - 60_000)
    with pytest.raises(InvalidField) as refused:
        queue.at(SHARED_CLOCK.now_ms() + AHEAD_MS + 60_000)
    assert refused.value.field == "deliver_at"
    assert "30 days" in refused.value.message


async def test_without_a_schedule_nothing_is_scheduled(connection: RedisConnection) -> None:
    with pytest.raises(ScheduleFull):
        QueueProducer(connection, ROOMY).at(0)


async def test_consecutive_pings_of_one_instant_share_a_batch(
    queue: QueueProducer, redis_client: Redis
) -> None:
    due_ms = SHARED_CLOCK.now_ms() + HOUR_MS
    pending = [PendingAppend(queue.at(due_ms + later), BOB, 10) for later in (0, 0, 5, 5, 0)]
    assert [await one.outcome() for one in pending] == [Accepted(one.ping_id) for one in pending]
    batches = [one.ping_id[:28] for one in pending]
    assert (len(set(batches)), batches[0], batches[2]) == (3, batches[1], batches[3])
    found = await redis_client.zrange(keys.SCHEDULED_PINGS, 0, -1, withscores=True)
    assert {name.decode(): score for name, score in found} == {
        batch: due_ms + later for batch, later in zip(batches, (0, 0, 5, 5, 0), strict=True)
    }


@pytest.mark.parametrize("limits", [BacklogLimits(2, 1000), BacklogLimits(1000, 20)], ids=["pings", "bytes"])
async def test_a_full_schedule_refuses_and_leaves_the_queue_alone(
    connection: RedisConnection, redis_client: Redis, limits: BacklogLimits
) -> None:
    queue = await producer(connection, limits)
    due_ms = SHARED_CLOCK.now_ms() + HOUR_MS
    for _ in range(2):
        assert isinstance(await add(queue, due_ms), Accepted)
    refused = await add(queue, due_ms)
    assert isinstance(refused, ScheduleFull)
    assert "limits.scheduled_pings" in refused.message
    assert await redis_client.zcard(keys.SCHEDULED_PINGS) == 2
    assert isinstance(await add(queue, 0), Accepted)


async def test_the_first_pings_of_a_commit_that_is_too_large_are_scheduled(
    connection: RedisConnection, redis_client: Redis
) -> None:
    queue = await producer(connection, BacklogLimits(3, 1000))
    due_ms = SHARED_CLOCK.now_ms() + HOUR_MS
    pending = [PendingAppend(queue.at(due_ms), BOB, 10) for _ in range(5)]
    outcomes = [type(await one.outcome()) for one in pending]
    assert outcomes == [Accepted] * 3 + [ScheduleFull] * 2
    assert await redis_client.hget(keys.STATS, "scheduled_pings") == b"3"
    assert await redis_client.zrange(keys.SCHEDULED_PINGS, 0, -1, withscores=True) == [(ANY, due_ms)]


async def test_a_key_is_honoured_while_its_ping_waits_and_a_day_longer(
    queue: QueueProducer, connection: RedisConnection, redis_client: Redis
) -> None:
    due_ms = SHARED_CLOCK.now_ms() + 48 * HOUR_MS
    first = await add(queue, due_ms, KEY)
    assert isinstance(first, Accepted)
    life_ms = await redis_client.pttl(keys.idempotency(KEY.scope))
    assert 71 * HOUR_MS < life_ms <= 72 * HOUR_MS + 2_000
    assert await add(queue, due_ms, KEY) == Accepted(first.ping_id, repeated=True)
    assert (await schedule.depth(connection)).pings == 1
    # The same request again when its instant is over: the ping is released, and no second one is made.
    assert await add(queue, 0, KEY) == Accepted(first.ping_id, repeated=True)
    assert await redis_client.exists(keys.PINGS) == 0


async def test_a_used_key_among_others_keeps_the_instant_of_the_others(
    queue: QueueProducer, redis_client: Redis
) -> None:
    due_ms = SHARED_CLOCK.now_ms() + HOUR_MS
    first = await add(queue, due_ms, KEY)
    other = IdempotencyKey(b"other", b"body")
    pending = [PendingAppend(queue.at(due_ms + 7), BOB, 10, key) for key in (KEY, other)]
    late = PendingAppend(queue.at(due_ms + 9), BOB, 10)
    repeated, fresh = [await one.outcome() for one in pending]
    await late.outcome()
    assert isinstance(first, Accepted)
    assert repeated == Accepted(first.ping_id, repeated=True)
    assert isinstance(fresh, Accepted)
    assert await redis_client.zscore(keys.SCHEDULED_PINGS, fresh.ping_id[:28]) == due_ms + 7


@pytest.mark.parametrize("request_too", [False, True], ids=["reply", "request"])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
async def test_a_ping_of_a_lost_append_is_scheduled_once(
    redis_server: RedisServer,
    make_link: MakeLink,
    redis_client: Redis,
    request_too: bool,
    key: IdempotencyKey | None,
) -> None:
    async with Proxy(redis_server.socket) as proxy:
        queue = await producer(await make_link(address=proxy.address))
        due_ms = SHARED_CLOCK.now_ms() + HOUR_MS
        await add(queue, due_ms)  # Redis caches the script: the next lost command is the append itself
        proxy.lose(b"{q}:append:", request_too=request_too)
        assert isinstance(await add(queue, due_ms, key), Accepted)
        assert proxy.struck.is_set()
    assert await redis_client.zcard(keys.SCHEDULED_PINGS) == 2
    assert await redis_client.hget(keys.STATS, "scheduled_pings") == b"2"
