import pytest
from redis.asyncio import Redis

from gateway.resque.store import ResqueStore, TakenJob
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.keys import ResqueKeys


def test_two_jobs_with_the_same_text_have_different_keys() -> None:
    one, other = TakenJob("1", "ping", b"{}"), TakenJob("2", "ping", b"{}")
    assert one.key != other.key
    assert one.key == TakenJob("1", "ping", b"{}").key
    assert one.key.body == other.key.body


@pytest.mark.parametrize(("behind_s", "inherited"), [(0, 0), (60, 1), (-86_400, 0)])
async def test_jobs_of_a_gateway_without_heartbeats_are_inherited_by_redis_clock(
    connection: RedisConnection, redis_client: Redis, behind_s: int, inherited: int
) -> None:
    store = ResqueStore(connection, ResqueKeys(), "successor", "successor:1:ping")
    await redis_client.hset(f"{keys.RESQUE_TAKEN}gone", "1", b"ping\0{}")
    seconds, _ = await redis_client.time()
    await redis_client.zadd(keys.RESQUE_TAKERS, {"gone": (seconds - behind_s) * 1000})
    assert await store.take_over() == inherited
    if not inherited:  # a heartbeat in the future also counts as missing from now on
        signed_ms = await redis_client.zscore(keys.RESQUE_TAKERS, "gone")
        assert signed_ms is not None
        assert signed_ms <= (seconds + 60) * 1000


async def test_a_job_that_is_taken_is_in_hand_until_it_is_finished(
    connection: RedisConnection, redis_client: Redis
) -> None:
    store = ResqueStore(connection, ResqueKeys(), "one", "one:1:ping")
    item = b'{"class":"PingJob","args":[{}]}'
    await redis_client.rpush("resque:queue:ping", item, item)
    taken = await store.take(["ping"])
    assert [job.item for job in taken] == [item, item]
    assert await redis_client.llen("resque:queue:ping") == 0
    assert await store.in_hand() == taken
    assert await store.finish(taken[0])
    assert await store.in_hand() == taken[1:]
