"""The stores of operators share one connection to the queue's Redis."""

from gateway.http_api.operator_stores import operator_stores
from gateway.store.connection import RedisConnection


async def test_a_reset_is_read_by_the_stores_of_every_worker(connection: RedisConnection) -> None:
    one, two = operator_stores(connection), operator_stores(connection)
    assert await two.lane_resets.unseen() == []
    await one.lane_resets.request("apns:A")
    assert await two.lane_resets.unseen() == ["apns:A"]
    assert await one.worker_reports.read() == []
