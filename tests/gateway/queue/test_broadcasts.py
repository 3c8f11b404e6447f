"""Broadcasts in Redis: their chunks, cursors and the devices that each chunk reaches."""

import pytest
from redis.asyncio import Redis

from gateway.errors import UnreadableEntry
from gateway.queue.broadcasts import BroadcastStore, store_users
from gateway.queue.consumer import (
    ReachedChunk,
    Settlement,
    Streams,
)
from gateway.queue.entries import Chunk, decode_chunk
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.conftest import MakeLink
from tests.gateway.queue.test_consumer import PING, RECEIPT, add, lease_one, settled


@pytest.fixture
async def streams(connection: RedisConnection) -> Streams:
    found = Streams(connection, "tested:0", 3600)
    await found.prepare()
    return found


@pytest.fixture
async def reader(make_link: MakeLink) -> RedisConnection:
    return await make_link("reader")


@pytest.fixture
async def store(connection: RedisConnection) -> BroadcastStore:
    return BroadcastStore(connection, 3600)


async def test_chunks_and_cursor_are_written_in_one_step(
    streams: Streams, store: BroadcastStore, reader: RedisConnection, redis_client: Redis
) -> None:
    await add(redis_client, keys.BROADCASTS)
    (lease,) = await streams.read(reader, (keys.BROADCASTS,), 1, 1)
    first, then = [Chunk(PING, 0), Chunk(PING, 1)], [Chunk(PING, 2)]
    assert await store.split_users(lease, "0" * 28, 0, first, 5000) == 2
    assert await store.cursor(lease) == 2
    # A second worker, or the same after a lost reply: nothing happens twice.
    assert await store.split_users(lease, "0" * 28, 0, first, 5000) == -1
    assert await store.waiting_chunks() == 2
    assert await redis_client.hget(RECEIPT, "0:open") == b"3"  # two pieces, and the cutting itself
    assert await store.split_users(lease, "0" * 28, 2, then, 5000) == 3
    assert await redis_client.hget(RECEIPT, "0:open") == b"4"
    assert await store.cursor(lease) == 3
    split_users = await streams.read(reader, (keys.CHUNKS,), 10, 1)
    assert [decode_chunk(one.payload) for one in split_users] == [*first, *then]
    await settled(streams, Settlement(lease))
    assert await store.split_users(lease, "0" * 28, 3, then, 5000) == -1


@pytest.mark.parametrize("damaged", ["x", "-1", "03", "\u0663", "9" * 5_000])
async def test_a_cursor_that_no_step_would_find_is_an_error(
    streams: Streams, store: BroadcastStore, reader: RedisConnection, redis_client: Redis, damaged: str
) -> None:
    await add(redis_client, keys.BROADCASTS)
    (lease,) = await streams.read(reader, (keys.BROADCASTS,), 1, 1)
    await redis_client.hset(keys.progress(lease.stream, lease.entry), "cursor", damaged)
    with pytest.raises(UnreadableEntry):
        await store.cursor(lease)


async def test_a_device_stays_with_the_chunk_that_claimed_it(
    store: BroadcastStore, redis_client: Redis
) -> None:
    assert await store.claim(PING.id, 0, [b"one", b"two"]) == [True, True]
    assert await store.claim(PING.id, 10, [b"two", b"three"]) == [False, True]
    assert await store.claim(PING.id, 0, [b"two", b"three", b"one"]) == [True, False, True]
    assert await store.claim(PING.id, 1, []) == []
    many = [b"%d" % n for n in range(2_500)]  # more than Lua passes on at once
    assert await store.claim(PING.id, 1, many) == [True] * 2_500
    assert await store.claim(PING.id, 2, [*many, b"new"]) == [*[False] * 2_500, True]
    assert 0 < await redis_client.ttl(keys.broadcast_devices(PING.id)) <= keys.BROADCAST_S


async def test_the_data_of_a_broadcast_is_deleted_with_its_last_chunk(
    streams: Streams, store: BroadcastStore, reader: RedisConnection, redis_client: Redis
) -> None:
    users, phones = keys.broadcast_users(PING.id), keys.broadcast_devices(PING.id)
    await redis_client.hset(users, mapping={0: b"x", 1: b"x"})
    await store.claim(PING.id, 0, [b"one"])
    for left, chunk in ((1, 1), (0, 0)):
        lease = await lease_one(streams, reader, redis_client)
        done = Settlement(lease, reached_chunks=[ReachedChunk.of(PING.id, chunk)])
        assert await settled(streams, done) == 1
        assert await settled(streams, done) == 0
        assert await redis_client.hlen(users) == left
        assert await redis_client.exists(phones) == left


async def test_a_damaged_last_chunk_does_not_prevent_that_a_broadcast_is_dropped(
    connection: RedisConnection, redis_client: Redis
) -> None:
    store = BroadcastStore(connection, 60)
    ping_id = "0" * 32
    await store_users(connection, keys.broadcast_users(ping_id), [f"u{n}" for n in range(500)], 60)
    await redis_client.hset(keys.broadcast_users(ping_id), "1", b"\xc1")
    for _ in range(2):
        assert await store.drop_users(ping_id, 0, 2) == keys.CHUNK_USERS


@pytest.mark.parametrize("number", [0, 500, 20 * keys.CHUNK_USERS])
async def test_users_that_are_stored_have_a_lifetime_although_the_connection_is_lost_after_the_first_command(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(connection, "send", lambda *_: None)
    name = keys.broadcast_users("0" * 32)
    await store_users(connection, name, [f"u{n}" for n in range(number)], 60)
    assert await redis_client.hlen(name) == max(1, -(-number // keys.CHUNK_USERS))
    assert 0 < await redis_client.ttl(name) <= 60
