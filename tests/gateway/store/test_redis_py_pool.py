"""Clients with few connections and many callers: a busy pool is not reported as an unreachable Redis."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import MaxConnectionsError

from gateway.errors import StoreBusy, StoreDown
from gateway.registry.accounts import Accounts
from gateway.registry.clients import Clients
from gateway.settings import Secret
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.errors import redis_errors
from gateway.store.redis_py_pool import with_bounded_pool
from tests.support.redis import RedisServer, store_client


def small(server: RedisServer, **options: Any) -> Redis:
    """A client of one connection."""
    return with_bounded_pool(store_client(server.socket), 1, **options)


async def test_many_callers_share_few_connections(redis_address: str) -> None:
    async with client(RedisAddress.parse(redis_address), connections_max=2) as redis:
        await redis.set("key", "value")
        assert await asyncio.gather(*(redis.get("key") for _ in range(300))) == [b"value"] * 300
        async with redis.pipeline(transaction=True) as pipe:
            await pipe.watch("key")
            pipe.multi()
            pipe.set("key", "other")
            await pipe.execute()
        assert await redis.info("clients") is not None
        # All connections were returned: as many commands run at once as before.
        assert await asyncio.gather(*(redis.get("key") for _ in range(3))) == [b"other"] * 3
        names = [line["name"] for line in await redis.client_list()]
        assert names.count("rhopush") <= 2


async def test_registrations_wait_for_each_other(redis_address: str, redis_client: Redis) -> None:
    async with client(RedisAddress.parse(redis_address), connections_max=2) as redis:
        clients = Clients(redis)
        await asyncio.gather(*(clients.register("bob", f"device{number}", {}) for number in range(200)))
    assert await redis_client.scard("user:bob:clients") == 200


async def test_beyond_the_bound_the_store_is_busy_and_not_away(
    redis_server: RedisServer, redis_address: str
) -> None:
    async with small(redis_server, waiting_max=1, patience_s=10.0) as redis, redis.pipeline() as pipe:
        await pipe.watch("key")  # takes the only connection
        waiting = asyncio.ensure_future(redis.get("key"))
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy) as caught, redis_errors():
            await redis.get("key")
        assert (caught.value.code, caught.value.status, caught.value.retryable) == ("store_busy", 503, True)
        assert "reached" not in caught.value.message
        await pipe.reset()
        assert await waiting is None


async def test_a_caller_waits_only_for_a_time(redis_server: RedisServer, redis_address: str) -> None:
    async with small(redis_server, patience_s=0.01) as redis, redis.pipeline() as pipe:
        await pipe.watch("key")
        with pytest.raises(StoreBusy), redis_errors():
            await redis.get("key")
        await pipe.reset()
        assert await redis.get("key") is None


async def test_a_cancelled_caller_loses_no_connection(redis_server: RedisServer, redis_address: str) -> None:
    async with small(redis_server) as redis:
        for _ in range(20):
            going = [asyncio.ensure_future(redis.get("key")) for _ in range(5)]
            await asyncio.sleep(0)
            for one in going:
                one.cancel()
            await asyncio.gather(*going, return_exceptions=True)
        async with asyncio.timeout(30):
            assert await redis.get("key") is None


async def test_a_connection_that_cannot_be_made_is_given_back() -> None:
    redis = client(RedisAddress(unix_path="/nowhere"), connections_max=1)
    for _ in range(3):
        with pytest.raises(StoreDown) as caught, redis_errors():
            await redis.get("key")
        assert not isinstance(caught.value, StoreBusy)
    await redis.aclose()


async def test_a_full_pool_of_redis_pys_own_is_no_redis_that_is_away(redis_server: RedisServer) -> None:
    full = store_client(redis_server.socket, max_connections=1)
    async with full as redis, redis.pipeline() as pipe:
        await pipe.watch("key")
        with pytest.raises(StoreBusy) as caught, redis_errors():
            await redis.get("key")
        assert isinstance(caught.value.__cause__, MaxConnectionsError)
        accounts = Accounts(redis, api_token=Secret("t"), admin_password=None, owns_store=False)
        with pytest.raises(StoreBusy):
            await accounts.token_role("token")
