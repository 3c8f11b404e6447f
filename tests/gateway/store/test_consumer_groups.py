"""Consumer groups are created once, with their stream."""

import pytest
from redis.asyncio import Redis

from gateway.store.connection import RedisConnection, RedisReplyError
from gateway.store.consumer_groups import ensure_group


async def test_a_group_is_created_with_its_stream_and_reads_it_from_the_beginning(
    connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.xadd("old", {"before": "the group"})
    for stream in ("new", "old"):
        await ensure_group(connection, stream, "readers")
        await ensure_group(connection, stream, "readers")  # it exists now
    assert [group["name"] for group in await redis_client.xinfo_groups("new")] == [b"readers"]
    ((_, entries),) = await redis_client.xreadgroup("readers", "one", {"old": ">"})
    assert len(entries) == 1


async def test_a_key_that_is_no_stream_is_an_error_of_its_data(
    connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.set("text", "no stream")
    with pytest.raises(RedisReplyError) as raised:
        await ensure_group(connection, "text", "readers")
    assert raised.value.of_data
