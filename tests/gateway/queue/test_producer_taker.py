"""What this process appends it may lease in the same step (`queue.Taker`)."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.queue.append_batch import Accepted, IdempotencyKey
from gateway.queue.consumer import Streams
from gateway.queue.entries import Entry, Lease, decode_entry
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer

ROOMY = BacklogLimits(1_000_000, 1_000_000_000)
KEY = IdempotencyKey(b"scope", b"body")


class Taking:
    """A consumer that notes what it is given."""

    name = "gateway:0"

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.expected: list[str] = []
        self.room = True
        self.recovering = asyncio.Event()

    def has_room(self) -> bool:
        return self.room

    def prefetch(self, entry: Entry) -> None:
        self.expected.append(entry.batch_id)

    def take(self, lease: Lease) -> None:
        self.leases.append(lease)

    def recover(self) -> None:
        self.recovering.set()

    @property
    def entries(self) -> list[Entry]:
        return [lease.decoded or decode_entry(lease.payload) for lease in self.leases]


@pytest.fixture
async def streams(connection: RedisConnection) -> Streams:
    made = Streams(connection, Taking.name, 60)
    await made.prepare()
    return made


def ping(user: str) -> Ping:
    return Ping(users=(user,), message="hello")


async def held_by(redis: Redis) -> dict[str, str]:
    """Entry -> the consumer that has its lease."""
    rows = await redis.xpending_range(keys.PINGS, keys.GROUP, "-", "+", 100)
    return {row["message_id"].decode(): row["consumer"].decode() for row in rows}


async def test_an_append_is_leased_in_the_same_step(
    connection: RedisConnection, streams: Streams, redis_client: Redis
) -> None:
    taking = Taking()
    queue = QueueProducer(connection, ROOMY, local_consumer=taking)
    ids = [(await queue.append(ping(user), 10)).ping_id for user in ("bob", "ann")]
    assert await held_by(redis_client) == {lease.entry: "gateway:0" for lease in taking.leases}
    assert [entry.pings[0].users for entry in taking.entries] == [("bob",), ("ann",)]
    assert [f"{entry.batch_id}0000" for entry in taking.entries] == ids
    # What stands in the stream is what was taken, so that whoever takes it over does the same.
    stored = [fields[b"e"] for _, fields in await redis_client.xrange(keys.PINGS)]
    assert [lease.payload for lease in taking.leases] == stored
    assert [(lease.pings, lease.size, lease.redelivered) for lease in taking.leases] == [(1, 10, False)] * 2
    assert await streams.read(connection, (keys.PINGS,), 10, 1) == []


async def test_who_has_no_room_leaves_it_to_the_readers(
    connection: RedisConnection, streams: Streams, redis_client: Redis
) -> None:
    taking = Taking()
    taking.room = False
    await QueueProducer(connection, ROOMY, local_consumer=taking).append(ping("bob"), 10)
    assert (taking.leases, await held_by(redis_client)) == ([], {})
    (lease,) = await streams.read(connection, (keys.PINGS,), 10, 1)
    assert decode_entry(lease.payload).pings[0].users == ("bob",)


async def test_what_waits_longer_is_taken_first(connection: RedisConnection, streams: Streams) -> None:
    await QueueProducer(connection, ROOMY).append(ping("first"), 10)
    taking = Taking()
    queue = QueueProducer(connection, ROOMY, local_consumer=taking)
    await queue.append(ping("second"), 10)
    assert [(lease.decoded, lease.redelivered) for lease in taking.leases] == [(None, False)]
    assert [entry.pings[0].users for entry in taking.entries] == [("first",)]
    (rest,) = await streams.read(connection, (keys.PINGS,), 10, 1)
    assert decode_entry(rest.payload).pings[0].users == ("second",)


async def test_a_broadcast_and_a_repeat_are_not_taken(connection: RedisConnection, streams: Streams) -> None:
    taking = Taking()
    queue = QueueProducer(connection, ROOMY, local_consumer=taking)
    crowd = Ping(users=tuple(f"user{n}" for n in range(keys.BROADCAST_USERS + 1)))
    await queue.append(crowd, 10)
    assert taking.leases == []
    first = await queue.append(ping("bob"), 10, KEY)
    assert await queue.append(ping("bob"), 10, KEY) == Accepted(first.ping_id, repeated=True)
    assert len(taking.leases) == 1


async def test_without_a_group_the_ping_is_durable_all_the_same(
    connection: RedisConnection, redis_client: Redis
) -> None:
    """As after FLUSHDB: whoever reads makes the group, and finds the ping."""
    taking = Taking()
    await QueueProducer(connection, ROOMY, local_consumer=taking).append(ping("bob"), 10)
    assert taking.leases == []
    streams = Streams(connection, Taking.name, 60)
    assert await streams.read(connection, (keys.PINGS,), 10, 1) == []
    assert len(await streams.read(connection, (keys.PINGS,), 10, 1)) == 1
    assert await redis_client.hget(keys.STATS, "pings") == b"1"


async def test_after_a_lost_reply_the_consumer_looks_for_itself(
    redis_server: RedisServer, make_link: MakeLink, streams: Streams, redis_client: Redis
) -> None:
    taking = Taking()
    async with Proxy(redis_server.socket) as proxy:
        queue = QueueProducer(await make_link(address=proxy.address), ROOMY, local_consumer=taking)
        taking.room = False
        await queue.append(ping("ann"), 10)  # Redis knows the script now
        await streams.read(await make_link(), (keys.PINGS,), 1, 1)
        taking.room = True
        proxy.lose(b"{q}:append:", request_too=False)
        await queue.append(ping("bob"), 10)
        await asyncio.wait_for(taking.recovering.wait(), 30)
    assert taking.leases == []
    decoded = [decode_entry(lease.payload).pings[0].users for lease in await streams.resume(keys.PINGS)]
    assert decoded == [("ann",), ("bob",)]


@pytest.mark.parametrize("room", [True, False])
async def test_what_will_be_taken_is_expected(
    connection: RedisConnection, streams: Streams, room: bool
) -> None:
    taking = Taking()
    taking.room = room
    queue = QueueProducer(connection, ROOMY, local_consumer=taking)
    given = (await queue.append(ping("bob"), 10)).ping_id
    assert taking.expected == ([given[:28]] if room else [])
    assert [entry.batch_id for entry in taking.entries] == taking.expected
