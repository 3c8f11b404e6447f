"""The users of broadcasts beside the queue."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.queue import broadcast_users
from gateway.queue.broadcast_users import BroadcastUsers
from gateway.store import keys
from gateway.store.connection import RedisConnection

PING = "0" * 32
USERS = tuple(f"user{number}" for number in range(keys.BROADCAST_USERS + 1))


@pytest.fixture
def users(connection: RedisConnection, monkeypatch: pytest.MonkeyPatch) -> BroadcastUsers:
    monkeypatch.setattr(broadcast_users, "WAITING_BYTES", 100)
    return BroadcastUsers(connection)


async def test_there_is_room_for_one_broadcast_of_any_size_and_for_several_small_ones(
    users: BroadcastUsers,
) -> None:
    assert users.reserve(1_000)
    assert not users.reserve(1)
    users.end(PING, 1_000, refused=False)
    assert users.reserve(60)
    assert users.reserve(40)
    assert not users.reserve(1)


@pytest.mark.parametrize(("refused", "left"), [(False, 1), (True, 0)])
async def test_the_users_of_a_refused_broadcast_are_removed(
    users: BroadcastUsers, connection: RedisConnection, redis_client: Redis, refused: bool, left: int
) -> None:
    assert users.reserve(10)
    assert await users.store(PING, USERS, 0) > 0
    assert 0 < await redis_client.ttl(keys.broadcast_users(PING)) <= keys.BROADCAST_S
    users.end(PING, 10, refused=refused)
    await connection.call("PING")  # behind the removal on the same connection
    assert await redis_client.exists(keys.broadcast_users(PING)) == left


async def test_a_scheduled_broadcast_keeps_its_users_until_it_is_due(
    users: BroadcastUsers, redis_client: Redis
) -> None:
    await users.store(PING, USERS, 1_000)
    assert await redis_client.ttl(keys.broadcast_users(PING)) > keys.BROADCAST_S


async def test_keys_that_cannot_be_removed_now_are_removed_later(
    connection: RedisConnection, redis_client: Redis
) -> None:
    users = BroadcastUsers(connection)
    await users.store(PING, USERS, 0)
    await connection.close()
    users.end(PING, 0, refused=True)
    await asyncio.sleep(0)
    assert await redis_client.exists(keys.broadcast_users(PING)) == 1
    assert list(users._orphaned) == [keys.broadcast_users(PING)]


async def test_the_keys_that_wait_for_their_removal_are_bounded(connection: RedisConnection) -> None:
    users = BroadcastUsers(connection)
    await connection.close()
    for number in range(broadcast_users.ORPHANED_MAX + 5):
        users.end(f"{number:032x}", 0, refused=True)
    assert len(users._orphaned) == broadcast_users.ORPHANED_MAX
    assert users._orphaned[-1] == keys.broadcast_users(f"{broadcast_users.ORPHANED_MAX + 4:032x}")
