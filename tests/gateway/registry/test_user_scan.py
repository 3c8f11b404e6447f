"""The scan of all users within one Redis process; another process restarts it."""

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.registry.user_scan import SCAN_USERS, UserScan
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError

NAMES = {f"user{number}" for number in range(5000)}


@pytest.fixture
async def scan(connection: RedisConnection, redis_client: Redis) -> UserScan:
    await redis_client.sadd(keys.APP_USERS, *NAMES)
    return UserScan(connection)


async def test_all_users_page_by_page(scan: UserScan, redis_client: Redis) -> None:
    info = await redis_client.info("server")
    assert await scan.count() == len(NAMES)
    found: list[str] = []
    run_id, position, pages = "", 0, 0
    while not pages or position:
        run_id, position, users, anew = await scan.page(run_id, position, 1000)
        assert not anew
        assert run_id == info["run_id"]
        assert position == 0 or 1000 <= len(users) < 1000 + 2 * SCAN_USERS
        found += users
        pages += 1
    assert set(found) == NAMES
    assert pages > 3


async def test_a_cursor_of_another_process_restarts_the_scan(scan: UserScan) -> None:
    first = await scan.page("", 0, 1000)
    assert first.position
    anew = await scan.page("f" * 40, first.position, 1000)
    assert anew == (first.run_id, first.position, first.users, True)
    begun = await scan.page("f" * 40, 0, 1000)
    assert (begun.users, begun.restarted) == (first.users, True)


async def test_added_and_removed_users_do_not_end_the_scan(scan: UserScan, redis_client: Redis) -> None:
    found: set[str] = set()
    page = await scan.page("", 0, 500)
    found.update(page.users)
    gone = sorted(NAMES)[:300]
    while page.position:
        await redis_client.srem(keys.APP_USERS, *gone[:10])
        await redis_client.sadd(keys.APP_USERS, *(f"new{len(found)}-{n}" for n in range(200)))
        gone = gone[10:]
        page = await scan.page(page.run_id, page.position, 500)
        found.update(page.users)
    assert found >= NAMES.difference(sorted(NAMES)[:300])


async def test_no_users_are_one_empty_page(connection: RedisConnection) -> None:
    page = await UserScan(connection).page("", 0, 1000)
    assert (page.position, page.users) == (0, [])


async def test_a_key_of_another_type_is_an_error_of_the_data(
    connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.set(keys.APP_USERS, "text")
    with pytest.raises(RedisReplyError) as raised:
        await UserScan(connection).page("", 0, 1000)
    assert isinstance(raised.value, StoreDown)
    assert raised.value.of_data
