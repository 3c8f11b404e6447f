"""The way into the queue: group commit, markers, limits, Idempotency-Keys."""

import asyncio
import re
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.errors import IdempotencyConflict, PossiblyAccepted, QueueFull, RhoPushError, StoreDown
from gateway.queue import scripts
from gateway.queue.append_batch import Accepted, IdempotencyKey, new_batch
from gateway.queue.entries import Entry
from gateway.queue.everybody import BEGIN_USERS
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.scheduling.scheduler import Scheduler
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer

ROOMY = BacklogLimits(1_000_000, 1_000_000_000)
BOB = Ping(users=("bob",), message="hello")
KEY = IdempotencyKey(b"scope", b"body")


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, ROOMY)


class Told:
    """A caller of the queue that records the outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Accepted | RhoPushError] = []

    def submit(
        self, queue: QueueProducer, ping: Ping, size: int, *, key: IdempotencyKey | None = None
    ) -> str:
        given: list[str] = []

        def done(outcome: Accepted | RhoPushError | None) -> None:
            self.outcomes.append(Accepted(given[0]) if outcome is None else outcome)

        given.append(queue.submit(ping, size, done, key=key))
        return given[0]

    @property
    def kinds(self) -> list[type]:
        return [type(outcome) for outcome in self.outcomes]

    @property
    def ids(self) -> list[str]:
        return [outcome.ping_id for outcome in self.outcomes if isinstance(outcome, Accepted)]


async def entries(redis: Redis, stream: str = keys.PINGS) -> list[Entry]:
    found = await redis.xrange(stream)
    return [msgspec.msgpack.decode(fields[b"e"], type=Entry) for _, fields in found]


async def test_pings_of_one_turn_of_the_loop_share_one_entry(
    queue: QueueProducer, redis_client: Redis
) -> None:
    told = Told()
    given = [told.submit(queue, Ping(users=(f"user{n}",)), 10) for n in range(5)]
    await queue.close()
    assert told.ids == given
    (entry,) = await entries(redis_client)
    assert [ping.users for ping in entry.pings] == [(f"user{n}",) for n in range(5)]
    assert given == [f"{entry.batch_id}{n:04x}" for n in range(5)]


async def test_pings_that_arrive_during_an_append_go_into_the_next(
    queue: QueueProducer, redis_client: Redis
) -> None:
    told = Told()
    first = told.submit(queue, BOB, 10)
    await asyncio.sleep(0)  # the first is on its way
    rest = [told.submit(queue, BOB, 10) for _ in range(3)]
    await queue.close()
    assert told.ids == [first, *rest]
    assert [len(entry.pings) for entry in await entries(redis_client)] == [1, 3]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (keys.ENTRY_PINGS - 1, [keys.ENTRY_PINGS - 1]),
        (keys.ENTRY_PINGS, [keys.ENTRY_PINGS]),
        (keys.ENTRY_PINGS + 1, [keys.ENTRY_PINGS, 1]),
    ],
)
async def test_the_pings_of_an_entry_are_limited(
    queue: QueueProducer, redis_client: Redis, count: int, sizes: list[int]
) -> None:
    told = Told()
    given = [told.submit(queue, BOB, 10) for _ in range(count)]
    await queue.close()
    assert sorted(told.ids) == sorted(given)
    assert sorted(len(entry.pings) for entry in await entries(redis_client)) == sorted(sizes)


async def test_the_bytes_of_an_entry_are_limited(queue: QueueProducer, redis_client: Redis) -> None:
    for _ in range(3):
        Told().submit(queue, BOB, keys.ENTRY_BYTES // 2)
    await queue.close()
    assert [len(entry.pings) for entry in await entries(redis_client)] == [2, 1]


@pytest.mark.parametrize("limits", [BacklogLimits(3, 1000), BacklogLimits(1000, 30)], ids=["pings", "bytes"])
async def test_the_backlog_ends_at_its_limit(
    connection: RedisConnection, redis_client: Redis, limits: BacklogLimits
) -> None:
    queue = QueueProducer(connection, limits)
    for _ in range(3):
        await queue.append(BOB, 10)
    with pytest.raises(QueueFull):
        await queue.append(BOB, 10)
    assert len(await entries(redis_client)) == 3
    assert await redis_client.hgetall(keys.STATS) == {b"pings": b"3", b"bytes": b"30"}
    await redis_client.hincrby(keys.STATS, "pings", -1)
    await redis_client.hincrby(keys.STATS, "bytes", -10)
    await queue.append(BOB, 10)
    assert len(await entries(redis_client)) == 4


@pytest.mark.parametrize(
    ("users", "stream"),
    [(keys.BROADCAST_USERS, keys.PINGS), (keys.BROADCAST_USERS + 1, keys.BROADCASTS)],
)
async def test_many_users_are_kept_beside_the_queue(
    queue: QueueProducer, redis_client: Redis, users: int, stream: str
) -> None:
    names = tuple(f"user{n}" for n in range(users))
    accepted = await queue.append(Ping(users=names), 10)
    (entry,) = await entries(redis_client, stream)
    kept = await redis_client.hgetall(keys.broadcast_users(accepted.ping_id))
    beside = [user for n in sorted(kept, key=int) for user in msgspec.msgpack.decode(kept[n])]
    assert tuple(beside) + entry.pings[0].users == names
    assert entry.chunk_count == len(kept)
    if kept:
        assert 0 < await redis_client.ttl(keys.broadcast_users(accepted.ping_id)) <= keys.BROADCAST_S


async def test_a_broadcasts_users_are_split_into_chunks(queue: QueueProducer, redis_client: Redis) -> None:
    names = tuple(f"user{n}" for n in range(2 * keys.CHUNK_USERS + 1))
    accepted = await queue.append(Ping(users=names), 10)
    kept = await redis_client.hgetall(keys.broadcast_users(accepted.ping_id))
    sizes = {int(n): len(msgspec.msgpack.decode(users)) for n, users in kept.items()}
    assert sizes == {0: keys.CHUNK_USERS, 1: keys.CHUNK_USERS, 2: 1}


# Idempotency-Key.


async def test_a_repeated_key_gets_the_first_id(queue: QueueProducer, redis_client: Redis) -> None:
    first = await queue.append(BOB, 10, KEY)
    second = await queue.append(BOB, 10, KEY)
    assert (first.repeated, second) == (False, Accepted(first.ping_id, repeated=True))
    assert len(await entries(redis_client)) == 1
    assert keys.MARKER_S < await redis_client.ttl(keys.idempotency(KEY.scope)) <= keys.IDEMPOTENCY_S


async def test_pings_with_the_same_key_in_flight_share_one_outcome(
    queue: QueueProducer, redis_client: Redis
) -> None:
    told = Told()
    for _ in range(3):
        told.submit(queue, BOB, 10, key=KEY)
    await queue.close()
    assert len(told.ids) == 3
    assert len(set(told.ids)) == 1
    assert len(await entries(redis_client)) == 1


async def test_a_key_with_another_body_is_a_conflict(queue: QueueProducer, redis_client: Redis) -> None:
    await queue.append(BOB, 10, KEY)
    with pytest.raises(IdempotencyConflict):
        await queue.append(BOB, 10, IdempotencyKey(KEY.scope, b"other"))
    await queue.append(BOB, 10, IdempotencyKey(b"other", KEY.body))
    assert len(await entries(redis_client)) == 2


async def test_a_key_of_a_refused_ping_is_free(connection: RedisConnection, redis_client: Redis) -> None:
    with pytest.raises(QueueFull):
        await QueueProducer(connection, BacklogLimits(0, 1000)).append(BOB, 10, KEY)
    assert not (await QueueProducer(connection, ROOMY).append(BOB, 10, KEY)).repeated
    assert len(await entries(redis_client)) == 1


async def test_a_broadcast_honours_its_key(queue: QueueProducer, redis_client: Redis) -> None:
    crowd = Ping(users=tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1)))
    first = await queue.append(crowd, 10, KEY)
    assert await queue.append(crowd, 10, KEY) == Accepted(first.ping_id, repeated=True)
    assert len(await entries(redis_client, keys.BROADCASTS)) == 1


# Idempotency-Keys in one commit.


def key_of(name: str, body: str = "body") -> IdempotencyKey:
    return IdempotencyKey(name.encode(), body.encode())


def named(name: str) -> Ping:
    return Ping(users=(name,))


async def users(redis: Redis) -> list[list[str]]:
    return [[ping.users[0] for ping in entry.pings] for entry in await entries(redis)]


async def test_keyed_pings_of_one_commit_share_one_entry(queue: QueueProducer, redis_client: Redis) -> None:
    told = Told()
    given = [told.submit(queue, named(f"u{n}"), 10, key=key_of(f"k{n}")) for n in range(50)]
    await queue.close()
    assert told.ids == given
    assert await users(redis_client) == [[f"u{n}" for n in range(50)]]
    kept = [await redis_client.get(keys.idempotency(f"k{n}".encode())) for n in (0, 49)]
    assert kept == [f"{b'body'.hex()}:{given[n]}".encode() for n in (0, 49)]
    assert await redis_client.hgetall(keys.STATS) == {b"pings": b"50", b"bytes": b"500"}


async def test_a_key_that_is_twice_in_one_commit_is_one_ping(
    queue: QueueProducer, redis_client: Redis
) -> None:
    told = Told()
    for name in ("a", "b", "a", "c", "a"):
        told.submit(queue, named(name), 10, key=key_of(name))
    await queue.close()
    assert await users(redis_client) == [["a", "b", "c"]]
    assert sorted(outcome.repeated for outcome in told.outcomes if isinstance(outcome, Accepted)) == [
        False,
        False,
        False,
        True,
        True,
    ]
    assert len(set(told.ids)) == 3


async def test_a_key_that_is_twice_in_one_commit_with_another_body_is_a_conflict(
    queue: QueueProducer, redis_client: Redis
) -> None:
    told = Told()
    told.submit(queue, named("a"), 10, key=key_of("k"))
    told.submit(queue, named("b"), 10, key=key_of("k", "other"))
    told.submit(queue, named("c"), 10, key=key_of("free"))
    await queue.close()
    assert sorted(kind.__name__ for kind in told.kinds) == ["Accepted", "Accepted", "IdempotencyConflict"]
    assert [name for names in await users(redis_client) for name in names] == ["a", "c"]


async def test_repeats_and_conflicts_among_fresh_keys(queue: QueueProducer, redis_client: Redis) -> None:
    first = [(await queue.append(named(name), 10, key_of(name))).ping_id for name in ("a", "b")]
    outcomes: dict[str, Accepted | RhoPushError | None] = {}

    def submit(name: str, body: str = "body") -> None:
        queue.submit(
            named(name), 10, lambda outcome: outcomes.__setitem__(name, outcome), key=key_of(name, body)
        )

    for name in ("x", "a", "y"):
        submit(name)
    submit("b", "other")
    queue.submit(named("y"), 10, lambda outcome: outcomes.__setitem__("y again", outcome), key=key_of("y"))
    submit("z")
    await queue.close()
    assert outcomes["a"] == Accepted(first[0], repeated=True)
    assert isinstance(outcomes["b"], IdempotencyConflict)
    last = (await entries(redis_client))[-1]
    assert [ping.users for ping in last.pings] == [("x",), ("y",), ("z",)]
    ids = [f"{last.batch_id}{index:04x}" for index in range(3)]
    assert [outcomes[name] for name in "xyz"] == [Accepted(ping_id) for ping_id in ids]
    assert outcomes["y again"] == Accepted(ids[1], repeated=True)
    for name, ping_id in zip("xyz", ids, strict=True):
        assert await queue.append(named(name), 10, key_of(name)) == Accepted(ping_id, repeated=True)
    assert await redis_client.hgetall(keys.STATS) == {b"pings": b"5", b"bytes": b"50"}


async def test_a_full_queue_refuses_the_keys_of_a_commit_and_leaves_them_free(
    connection: RedisConnection, redis_client: Redis
) -> None:
    queue, told = QueueProducer(connection, BacklogLimits(1000, 20)), Told()
    for name in "abc":
        told.submit(queue, named(name), 10, key=key_of(name))
    await queue.close()
    assert told.kinds == [QueueFull] * 3
    queue.limits = ROOMY
    for name in "abc":
        assert not (await queue.append(named(name), 10, key_of(name))).repeated


async def test_a_lost_reply_about_fresh_keys_names_the_ids_that_they_would_have(
    redis_client: Redis, queue: QueueProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.append(named("a"), 10, key_of("a"))
    told = Told()
    sent = queue._send

    def send(batch: Any, entry: Entry) -> None:
        if batch.renumbered:
            queue._notify(batch, PossiblyAccepted("lost"))
        else:
            sent(batch, entry)

    monkeypatch.setattr(queue, "_send", send)
    given = [told.submit(queue, named(name), 10, key=key_of(name)) for name in "abc"]
    await queue.close()
    possible = [outcome.ping_id for outcome in told.outcomes if isinstance(outcome, PossiblyAccepted)]
    assert len(set(possible)) == 2
    assert not set(possible) & set(given)


# Lost replies.


@pytest.mark.parametrize("request_too", [False, True], ids=["reply", "request"])
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "keyed"])
async def test_pings_of_a_lost_append_are_queued_once(
    redis_server: RedisServer,
    make_link: MakeLink,
    redis_client: Redis,
    request_too: bool,
    key: IdempotencyKey | None,
) -> None:
    async with Proxy(redis_server.socket) as proxy:
        scheduler = Scheduler()
        queue = QueueProducer(await make_link(address=proxy.address), ROOMY, scheduler=scheduler)
        await queue.append(BOB, 10)  # Redis knows the script now: what is lost next is the append itself
        told = Told()
        proxy.lose(b"{q}:append:", request_too=request_too)
        given = [told.submit(queue, BOB, 10, key=key) for _ in range(1 if key else 5)]
        await queue.close()
        assert told.ids == given
        assert proxy.struck.is_set()
        assert scheduler._small == 0
    assert sum(len(entry.pings) for entry in await entries(redis_client)) == 1 + len(given)


async def test_an_undetermined_append_is_possibly_accepted(
    redis_server: RedisServer, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.producer.RESOLVE_S", 0.2)
    async with Proxy(redis_server.socket) as proxy:
        scheduler = Scheduler()
        queue = QueueProducer(await make_link(address=proxy.address), ROOMY, scheduler=scheduler)
        proxy.lose(b"{q}:append:", back=False)
        with pytest.raises(PossiblyAccepted):
            await queue.append(BOB, 10)
        with pytest.raises(StoreDown) as down:
            await queue.append(BOB, 10)
        assert type(down.value) is StoreDown
        assert scheduler._small == 0


async def test_an_append_that_redis_refuses_is_not_accepted(
    queue: QueueProducer, redis_client: Redis
) -> None:
    await redis_client.set(keys.PINGS, "not a stream")
    told = Told()
    for _ in range(3):
        told.submit(queue, BOB, 10)
    await queue.close()
    assert told.kinds == [StoreDown] * 3


async def test_pings_beyond_the_memory_limit_are_refused_immediately(
    queue: QueueProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.producer._WAITING_BYTES", 100)
    told = Told()
    for _ in range(11):
        told.submit(queue, BOB, 10)
    assert told.kinds == [QueueFull] * 11
    assert queue._scheduler._small == 0
    await queue.append(BOB, 10)


async def test_the_users_of_a_broadcast_that_was_refused_are_dropped_once_redis_is_back(
    make_link: MakeLink, redis_server: RedisServer, redis_client: Redis
) -> None:
    """A caller who tries again and again while Redis comes and goes must not fill it."""
    crowd = Ping(users=tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1)))
    async with Proxy(redis_server.socket) as proxy:
        connection = await make_link(address=proxy.address)
        queue = QueueProducer(connection, ROOMY)
        await redis_client.script_load(BEGIN_USERS.text)  # the reply that is lost is not that it is missing
        proxy.lose(b"{q}:users:", back=False)
        with pytest.raises(StoreDown):
            await queue.append(crowd, 10)
        assert await redis_client.keys("rhopush:{q}:users:*")
        await proxy.restore()
        await connection.wait_up()
        accepted = await queue.append(crowd, 10)
        (left,) = await redis_client.keys("rhopush:{q}:users:*")
        assert left.decode() == keys.broadcast_users(accepted.ping_id)


async def test_broadcasts_beyond_the_memory_limit_are_refused_immediately(
    queue: QueueProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.broadcast_users.WAITING_BYTES", 100)
    crowd = Ping(users=tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1)))
    told = Told()
    for _ in range(3):
        told.submit(queue, crowd, 40)
    assert told.kinds == [QueueFull]
    await queue.close()
    assert told.kinds == [QueueFull, Accepted, Accepted]
    # One that is alone is never too large, and nothing is kept of those that are over.
    for size in (1_000, 40):
        await queue.append(crowd, size)


def test_ids_have_the_form_of_a_version_7_uuid_and_sort_by_time() -> None:
    made: Sequence[str] = [new_batch(now_ms) for now_ms in (1_700_000_000_000, 1_800_000_000_000)]
    assert made == sorted(made)
    for batch_id in made:
        assert re.fullmatch(r"[0-9a-f]{28}", batch_id)
        found = uuid.UUID(batch_id + "0001")
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert new_batch(1) != new_batch(1)


async def test_a_repeated_append_returns_its_first_entry(
    connection: RedisConnection, redis_client: Redis
) -> None:
    """A command that is sent again after a lost reply: the marker tells, and nothing is written twice."""
    names = [keys.PINGS, keys.marker("batch", 0), keys.STATS]
    words: list[Argument] = [2, 30, 1000, 10_000, 600, b"entry", keys.GROUP, ""]
    done, entry = await connection.eval(scripts.APPEND, names, words)
    assert await connection.eval(scripts.APPEND, names, words) == [b"done", entry]
    assert done == b"done"
    assert [name for name, _ in await redis_client.xrange(keys.PINGS)] == [entry]
    assert await redis_client.hmget(keys.STATS, "pings", "bytes") == [b"2", b"30"]
    assert await connection.eval(scripts.FENCE, names[1:2], [600]) == entry


async def test_an_abandoned_append_never_happens(connection: RedisConnection, redis_client: Redis) -> None:
    names = [keys.PINGS, keys.marker("batch", 0), keys.STATS]
    words: list[Argument] = [2, 30, 1000, 10_000, 600, b"entry", keys.GROUP, ""]
    assert await connection.eval(scripts.FENCE, names[1:2], [600]) == keys.VOID
    assert await connection.eval(scripts.APPEND, names, words) == [keys.VOID, keys.VOID]
    assert await redis_client.exists(keys.PINGS, keys.STATS) == 0


@pytest.mark.parametrize("limits", [ROOMY, BacklogLimits(0, 0)], ids=["accepted", "refused"])
async def test_small_pings_are_in_flight_from_submission_to_their_outcome(
    connection: RedisConnection, limits: BacklogLimits
) -> None:
    scheduler, told = Scheduler(), Told()
    queue = QueueProducer(connection, limits, scheduler=scheduler)
    told.submit(queue, BOB, 10)
    told.submit(queue, BOB, 10)
    told.submit(queue, BOB, 10, key=KEY)
    assert scheduler._small == 2  # two batches
    told.submit(queue, Ping(users=tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1))), 10)
    assert scheduler._small == 2
    await queue.close()
    assert len(told.outcomes) == 4
    assert scheduler._small == 0
