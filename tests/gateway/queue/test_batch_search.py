"""The entry of a batch is found by its time, among many, and among the newest after a change of the clock."""

import pytest
from redis.asyncio import Redis

from gateway.queue import batch_search
from gateway.queue.batch_search import find_entry
from gateway.queue.entries import Entry, encode
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping

AT_MS = 1_795_600_000_000


def batch(number: int, at_ms: int = AT_MS) -> str:
    return f"{at_ms:012x}{number:016x}"


async def add(redis: Redis, batch_id: str, at_ms: int, sequence: int = 0) -> None:
    entry = encode(Entry(batch_id, at_ms, (Ping(users=("bob",), message=batch(99)),)))
    await redis.xadd(keys.PINGS, {"e": entry, "n": 1, "s": 1}, id=f"{at_ms}-{sequence}")


async def test_only_an_existing_batch_is_found(connection: RedisConnection, redis_client: Redis) -> None:
    assert not await find_entry(connection, keys.PINGS, batch(1))
    await add(redis_client, batch(1), AT_MS + 3)
    assert await find_entry(connection, keys.PINGS, batch(1)) == f"{AT_MS + 3}-0"
    assert not await find_entry(connection, keys.PINGS, batch(2))
    assert not await find_entry(connection, keys.PINGS, batch(99))  # it is in the text of a ping alone
    assert not await find_entry(connection, keys.BROADCASTS, batch(1))


async def test_it_is_found_among_many(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_search, "ENTRIES_MAX", 100)
    for number in range(300):
        await add(redis_client, batch(number), AT_MS, number)
    assert await find_entry(connection, keys.PINGS, batch(99 - 1))
    assert await find_entry(connection, keys.PINGS, batch(201))
    assert not await find_entry(connection, keys.PINGS, batch(150))


async def test_it_is_found_far_from_its_time_among_the_newest(
    connection: RedisConnection, redis_client: Redis
) -> None:
    await add(redis_client, batch(1), AT_MS + 3_600_000)
    assert await find_entry(connection, keys.PINGS, batch(1))


async def test_entries_of_the_minute_before_do_not_hide_it(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_search, "ENTRIES_MAX", 100)
    for number in range(300):
        await add(redis_client, batch(number), AT_MS - 30_000, number)
    await add(redis_client, batch(300), AT_MS + 1)
    for number in range(301, 500):
        await add(redis_client, batch(number), AT_MS + 30_000, number)
    assert await find_entry(connection, keys.PINGS, batch(300)) == f"{AT_MS + 1}-0"
    assert await find_entry(connection, keys.PINGS, batch(50)) == f"{AT_MS - 30_000}-50"
