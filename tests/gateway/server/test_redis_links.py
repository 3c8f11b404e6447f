"""The connections to Redis of one worker's pipeline."""

from redis.asyncio import Redis

from gateway.metrics import Metrics
from gateway.server.redis_links import open_redis_links
from gateway.store.address import RedisAddress
from tests.support.worker_core import until

PURPOSES = {"append", "streams", "registry", "small", "pieces", "broadcasts"}


async def test_each_connection_has_the_name_of_its_purpose(redis_address: str, redis_client: Redis) -> None:
    address = RedisAddress.parse(redis_address)

    async def named() -> set[str]:
        return {client["name"].rpartition(":")[2] for client in await redis_client.client_list()} & PURPOSES

    async def are_closed() -> bool:
        return not await named()

    async with open_redis_links(address, address, Metrics()) as links:
        for link in (links.appends, links.streams, links.look_ups, *vars(links.readers).values()):
            assert await link.call("PING") == b"PONG"
        assert await named() == PURPOSES
    await until(are_closed)
