"""A bounded pool of redis-py connections in which a caller waits for its turn.

redis-py's pool raises as soon as its connections are all in use, so that a burst of requests looks like a Redis that is
away. Here the callers wait in the order in which they came; only beyond a bound, or after a time, is one refused, and
then with an error of its own.
"""

import asyncio
from typing import Any, Final, cast

from redis.asyncio import ConnectionPool, Redis

from gateway.errors import StoreBusy

CONNECTIONS_MAX: Final = 32
"""Connections of one client. One process' requests to Redis do not get faster by more of them."""
_WAITING_MAX: Final = 1_024
_WAIT_MAX_S: Final = 5.0


class BoundedPool:
    """Stands before a pool of redis-py, of which it has the interface.

    Args:
        pool: the pool; its own limit is higher.
        connections_max: how many connections are in use at a time.
        waiting_max: how many callers may wait for one.
        patience_s: how long a caller waits.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        connections_max: int = CONNECTIONS_MAX,
        *,
        waiting_max: int = _WAITING_MAX,
        patience_s: float = _WAIT_MAX_S,
    ) -> None:
        self._pool: Any = pool  # left untyped in parts
        self._free = asyncio.Semaphore(connections_max)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """A connection, once one is free.

        Raises:
            StoreBusy: too many callers wait already, or none got free in time.
        """
        await self._take()
        try:
            return await self._pool.get_connection(*args, **options)
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: Any) -> None:
        """Give a connection back."""
        try:
            await self._pool.release(connection)
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        if self._waiting >= self._waiting_max:
            raise StoreBusy("too many requests wait for a connection to Redis")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreBusy("all connections to Redis were in use for too long") from error
        finally:
            self._waiting -= 1


def with_bounded_pool(redis: Redis, connections_max: int = CONNECTIONS_MAX, **options: Any) -> Redis:
    """The client, with a `BoundedPool` before its pool. `options` are those of `BoundedPool`."""
    redis.connection_pool = cast(
        "ConnectionPool", BoundedPool(redis.connection_pool, connections_max, **options)
    )
    return redis
