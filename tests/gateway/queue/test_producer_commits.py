"""Commits of which a part is appended later or not at all: the order of keys, and a queue that has room for some."""

import pytest
from redis.asyncio import Redis

from gateway.errors import IdempotencyConflict, QueueFull
from gateway.queue.append_batch import Accepted
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.queue.test_producer import BOB, ROOMY, Told, entries, key_of, named


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, ROOMY)


async def test_the_first_of_two_pings_with_one_key_gets_it_although_its_batch_is_sent_twice(
    queue: QueueProducer, redis_client: Redis
) -> None:
    """A key of the batch was used before, so that none of its pings is written at first."""
    used = await queue.append(named("used"), 10, key_of("used"))
    told = Told()
    for name, body in (("new", "1"), ("used", "body"), ("new", "2"), ("new", "1")):
        told.submit(queue, named(name), 10, key=key_of(name, body))
    await queue.close()
    kinds = [outcome for outcome in told.outcomes if not isinstance(outcome, Accepted)]
    assert [type(one) for one in kinds] == [IdempotencyConflict]
    fresh, again, known = sorted(
        (one for one in told.outcomes if isinstance(one, Accepted)), key=lambda one: one.repeated
    )
    assert Accepted(used.ping_id, repeated=True) in (again, known)
    assert Accepted(fresh.ping_id, repeated=True) in (again, known)
    assert await queue.append(named("new"), 10, key_of("new", "1")) == Accepted(fresh.ping_id, repeated=True)
    assert [entry.pings for entry in await entries(redis_client)] == [(named("used"),), (named("new"),)]


@pytest.mark.parametrize("keyed", [False, True])
async def test_the_first_pings_of_a_commit_that_is_too_large_are_accepted(
    connection: RedisConnection, redis_client: Redis, keyed: bool
) -> None:
    queue, told = QueueProducer(connection, BacklogLimits(3, 1000)), Told()
    await queue.append(BOB, 10)
    for name in "abcd":
        told.submit(queue, named(name), 10, key=key_of(name) if keyed else None)
    await queue.close()
    assert told.kinds == [QueueFull, QueueFull, Accepted, Accepted]
    assert queue._scheduler._small == 0
    _, last = await entries(redis_client)
    assert last.pings == (named("a"), named("b"))
    assert told.ids == [f"{last.batch_id}{index:04x}" for index in range(2)]
    assert await redis_client.hgetall(keys.STATS) == {b"pings": b"3", b"bytes": b"30"}
    queue.limits = ROOMY
    if keyed:
        repeats = [(await queue.append(named(name), 10, key_of(name))).repeated for name in "abcd"]
        assert repeats == [True, True, False, False]
