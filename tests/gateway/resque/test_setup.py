"""The Resque worker of a gateway, opened by its settings."""

import json

from redis.asyncio import Redis

from gateway.resque.store import ResqueStore
from gateway.settings import Secret
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from tests.gateway.resque.test_worker import messages, processed, working
from tests.support.redis import RedisServer, store_client
from tests.support.resque import enqueue
from tests.support.worker_core import until


async def test_a_queue_in_another_redis_gets_each_job_once(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    await enqueue(redis_server.socket, [{"user_id": "a", "message": f"job {n}"} for n in range(30)])
    with RedisServer("redis") as other:
        async with store_client(other.socket) as theirs:
            async with working(redis_server.address, other.address):
                await processed(redis_client, 30)
            assert await messages(theirs) == [f"job {n}" for n in range(30)]
            # The same again, as after a lost reply: in hand again, and already durable.
            await hand_again(redis_client, theirs, redis_server, other)


async def hand_again(redis: Redis, theirs: Redis, server: RedisServer, other: RedisServer) -> None:
    await enqueue(server.socket, [{"user_id": "a", "message": "again"}])
    link = RedisConnection(RedisAddress.parse(server.address), "test")
    await link.open(30)
    store = ResqueStore(link, keys.ResqueKeys(), "tested", "rhopush-x:1:ping")
    (job,) = await store.take(["ping"])
    for wanted in (31, 32):
        await redis.hset(f"{keys.RESQUE_TAKEN}tested", job.recovery_id, b"ping\0" + job.item)
        async with working(server.address, other.address):
            await processed(redis, wanted)
    assert (await messages(theirs)).count("again") == 1
    await link.close()


async def test_jobs_of_another_namespace_are_processed(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    job = {"class": "PingJob", "args": [{"user_id": "a", "message": "here"}]}
    await redis_client.rpush("shop:queue:ping", json.dumps(job))
    async with working(redis_server.address, redis=Secret(f"{redis_server.address}&namespace=shop")):
        await until(lambda: redis_client.get("shop:stat:processed"))
    assert await messages(redis_client) == ["here"]
