"""Requests to close circuit breakers reach every worker once."""

from redis.asyncio import Redis

from gateway.queue.lane_resets import LaneResets
from gateway.store import keys
from gateway.store.connection import RedisConnection


async def test_every_worker_reads_each_request_once(connection: RedisConnection, redis_client: Redis) -> None:
    one, two = LaneResets(connection), LaneResets(connection)
    assert await one.unseen() == []
    assert await two.unseen() == []
    await one.request("apns:A")
    assert await one.unseen() == await two.unseen() == ["apns:A"]
    assert await one.unseen() == []
    await two.request("apns:A")
    await two.request("number")
    assert sorted(await one.unseen()) == ["apns:A", "number"]
    assert 0 < await redis_client.ttl(keys.LANE_RESETS) <= keys.LANE_RESETS_S


async def test_a_request_from_before_the_start_is_not_carried_out(connection: RedisConnection) -> None:
    await LaneResets(connection).request("apns:A")
    late = LaneResets(connection)
    assert await late.unseen() == []
    await late.request("apns:A")
    assert await late.unseen() == ["apns:A"]
