"""Entries of a stream with a bounded length."""

import json

from redis.asyncio import Redis

from gateway.store.connection import RedisConnection
from gateway.webhooks.stream_sink import StreamSink
from protocols.webhooks.attempts import Outcome
from protocols.webhooks.events import PING_COMPLETED, Message

MESSAGE = Message("msg_1-0_ping-completed", PING_COMPLETED, 5, [{"ping_id": "one"}])


async def test_a_message_is_an_entry(connection: RedisConnection, redis_client: Redis) -> None:
    sink = StreamSink(connection, "events")
    assert (await sink.send(MESSAGE)).outcome is Outcome.DELIVERED
    ((_, fields),) = await redis_client.xrange("events")
    assert (fields[b"id"], fields[b"type"]) == (MESSAGE.id.encode(), b"ping.completed")
    assert json.loads(fields[b"body"])["data"] == [{"ping_id": "one"}]
    await sink.close()


async def test_the_stream_is_bounded(connection: RedisConnection, redis_client: Redis) -> None:
    sink = StreamSink(connection, "events", most=100)
    for _ in range(500):
        await sink.send(MESSAGE)
    assert 100 <= await redis_client.xlen("events") < 300


async def test_the_size_of_the_stream_is_bounded(connection: RedisConnection, redis_client: Redis) -> None:
    large = MESSAGE._replace(data=[{"ping_id": "x" * 20_000}])
    sink = StreamSink(connection, "events", most_bytes=200_000)
    for number in range(100):
        assert (await sink.send(large._replace(id=f"msg_{number}"))).outcome is Outcome.DELIVERED
    assert 5 <= await redis_client.xlen("events") <= 10
    successor = StreamSink(connection, "events", most_bytes=200_000)
    for number in range(100, 105):
        await successor.send(large._replace(id=f"msg_{number}"))
        assert await redis_client.xlen("events") <= 10
    ((_, fields),) = await redis_client.xrevrange("events", count=1)
    assert fields[b"id"] == b"msg_104"
    for number in range(40):
        await successor.send(MESSAGE._replace(id=f"msg_small_{number}"))
    assert await redis_client.xlen("events") >= 40


async def test_a_key_of_another_type_fails(connection: RedisConnection, redis_client: Redis) -> None:
    await redis_client.set("events", "text")
    attempt = await StreamSink(connection, "events").send(MESSAGE)
    assert (attempt.outcome, attempt.error.split()[0]) == (Outcome.FAILED, "WRONGTYPE")
