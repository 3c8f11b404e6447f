"""The sweep of the retry schedule and the pruning of the set, in Redis."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.queue.cancellation_scripts import PRUNE, SWEEP
from gateway.queue.entries import Chunk, encode
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping

FUTURE_MS = 4_102_444_800_000
IDS = [f"{number:032x}" for number in range(5)]


async def lay_retry(redis: Redis, name: str, ping_id: str, **fields: Any) -> None:
    chunk = Chunk(Ping(id=ping_id, **fields), -1, ("client",))
    await redis.zadd(keys.SCHEDULE, {name: FUTURE_MS})
    await redis.hset(keys.SCHEDULE_BODIES, name, encode(chunk))


@pytest.mark.parametrize("fields", [{}, {"accepted_ms": 48}, {"reply_to": "channel", "ingress": "resque"}])
async def test_the_retries_of_cancelled_pings_alone_become_due(
    connection: RedisConnection, redis_client: Redis, fields: dict[str, Any]
) -> None:
    for number, ping_id in enumerate(IDS):
        await lay_retry(redis_client, f"retry {number}", ping_id, **fields)
    await redis_client.hset(keys.SCHEDULE_BODIES, "damaged", b"\x97\xd9 short")
    await redis_client.zadd(keys.CANCELLED, {IDS[1]: FUTURE_MS, IDS[3]: FUTURE_MS})
    names = [keys.SCHEDULE_BODIES, keys.SCHEDULE, keys.CANCELLED]
    assert await connection.eval(SWEEP, names, [0, 100]) == [b"0", 2]
    due = await redis_client.zrangebyscore(keys.SCHEDULE, 0, 0)
    assert sorted(due) == [b"retry 1", b"retry 3"]


async def test_a_full_redis_accepts_the_sweep(connection: RedisConnection, redis_client: Redis) -> None:
    await lay_retry(redis_client, "retry", IDS[1])
    await redis_client.zadd(keys.CANCELLED, {IDS[1]: FUTURE_MS})
    await redis_client.config_set("maxmemory", "1")
    try:
        names = [keys.SCHEDULE_BODIES, keys.SCHEDULE, keys.CANCELLED]
        assert await connection.eval(SWEEP, names, [0, 100]) == [b"0", 1]
    finally:
        await redis_client.config_set("maxmemory", "0")
    assert await redis_client.zscore(keys.SCHEDULE, "retry") == 0


async def test_the_ids_of_finished_pings_leave_the_set_and_the_version_changes(
    connection: RedisConnection, redis_client: Redis
) -> None:
    """Kept: an open ping, a queued ping, and a finished one that was cancelled a moment ago."""
    seconds, _ = await redis_client.time()
    life = 1_000
    now_ms = int(seconds) * 1000
    ids = [f"{number:028x}0000" for number in range(5)]
    old, new = now_ms + (life - 100) * 1000, now_ms + life * 1000
    await redis_client.zadd(keys.CANCELLED, {ids[0]: old, ids[1]: old, ids[2]: old, ids[3]: new, ids[4]: 5})
    for number, fields in ((0, {"base": "x"}), (1, {"base": "x", "0:open": 1}), (3, {"base": "x"})):
        await redis_client.hset(keys.receipt(ids[number][:28]), mapping=fields)
    await redis_client.mset({keys.CANCELLED_VERSION: "one", keys.CANCELLED_SWEPT: "one"})
    names = [keys.CANCELLED, keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT]
    assert await connection.eval(PRUNE, names, [life, 60, 0, 100]) == [4, 2]
    left = sorted(await redis_client.zrange(keys.CANCELLED, 0, -1))
    assert left == [ids[1].encode(), ids[2].encode(), ids[3].encode()]
    version, swept = await redis_client.mget(keys.CANCELLED_VERSION, keys.CANCELLED_SWEPT)
    assert version == swept != b"one"
    await redis_client.zadd(keys.CANCELLED, dict.fromkeys(ids, 5))
    await connection.eval(PRUNE, names, [life, 60, 0, 100])
    assert await redis_client.exists(*names) == 0
