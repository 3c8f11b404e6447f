"""Broadcasts to all users in Redis: users, chunks and the cursor of the scan are written in one step."""

import pytest
from redis.asyncio import Redis

from gateway.errors import UnreadableEntry
from gateway.queue.consumer import Streams
from gateway.queue.entries import CHUNKS_MAX, Lease, decode_chunk
from gateway.queue.everybody import (
    SCAN_CHUNK,
    EverybodyStore,
    ScanCursor,
    ScanStep,
    is_to_everybody,
    open_scan,
)
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.addressees import Addressees
from protocols.ping.model import Ping
from tests.gateway.conftest import MakeLink
from tests.gateway.queue.test_consumer import RECEIPT, add

PING = Ping(id="0" * 32, message="hello", to=Addressees(all_users=True))
USERS = keys.broadcast_users(PING.id)


@pytest.fixture
async def lease(connection: RedisConnection, make_link: MakeLink, redis_client: Redis) -> Lease:
    streams = Streams(connection, "tested:0", 3600)
    await streams.prepare()
    await add(redis_client, keys.BROADCASTS)
    (found,) = await streams.read(await make_link("reader"), (keys.BROADCASTS,), 1, 1)
    return found


@pytest.mark.parametrize(
    "cursor",
    [ScanCursor(), ScanCursor(0, "ab", 7), ScanCursor(12, "ab", 2**63), ScanCursor(3, "ab", 0, True)],
)
def test_a_cursor_has_a_text_form(cursor: ScanCursor) -> None:
    assert ScanCursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "1:ab",
        "1:ab:x",
        "-1:ab:0",
        f"{CHUNKS_MAX + 1}:ab:0",
        "1:ab:",
        f"1:ab:{2**64}",
        "1:ab:" + "9" * 5_000,
        "1:ab:\u0663",
        "01:ab:0",
        "1:ab:00",
    ],
    ids=lambda text: text[:12],
)
def test_a_damaged_cursor_is_an_error(text: str) -> None:
    with pytest.raises(UnreadableEntry):
        ScanCursor.parse(text)


def test_only_all_users_are_everybody() -> None:
    assert is_to_everybody(PING)
    assert not is_to_everybody(Ping(users=("bob",)))
    assert not is_to_everybody(Ping(to=Addressees(devices=("c1",))))


async def test_users_chunks_and_cursor_are_one_step(
    lease: Lease, connection: RedisConnection, redis_client: Redis
) -> None:
    store = EverybodyStore(connection, 3600)
    await open_scan(connection, USERS, 100)
    assert 0 < await redis_client.ttl(USERS) <= 100
    start = await store.cursor(lease)
    assert start == ScanCursor()
    first = ScanStep(lease, PING, start, ScanCursor(2, "run", 17), [["a", "b"], ["c"]])
    assert await store.write(first, 5000) == 2
    assert await store.write(first, 5000) == -1
    assert await store.cursor(lease) == first.after
    assert await redis_client.hget(RECEIPT, "0:open") == b"3"  # two chunks, and the scan itself
    last = ScanStep(lease, PING, first.after, ScanCursor(3, "run", 0, True), [["d"]])
    assert await store.write(last, 5000) == 3
    assert await store.waiting_chunks() == 3
    assert await redis_client.hget(RECEIPT, "0:open") == b"4"
    assert (await store.cursor(lease)).ended
    chunks = [decode_chunk(fields[b"e"]) for _, fields in await redis_client.xrange(keys.CHUNKS)]
    assert [(chunk.chunk_index, chunk.ping) for chunk in chunks] == [(0, PING), (1, PING), (2, PING)]
    assert sorted(map(int, await redis_client.hkeys(USERS))) == [0, 1, 2, SCAN_CHUNK]
    assert 0 < await redis_client.ttl(USERS) <= keys.BROADCAST_S
    await redis_client.xdel(keys.BROADCASTS, lease.entry)
    assert await store.write(last, 5000) == -1


async def test_nobody_is_a_step_without_chunks(
    lease: Lease, connection: RedisConnection, redis_client: Redis
) -> None:
    store = EverybodyStore(connection, 3600)
    step = ScanStep(lease, PING, ScanCursor(), ScanCursor(0, "run", 0, True), [])
    assert await store.write(step, 5000) == 0
    assert await redis_client.hget(RECEIPT, "0:open") == b"1"
