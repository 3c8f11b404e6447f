"""Bounded pool of redis-py connections in which callers wait for a free connection.

redis-py's pool raises as soon as all its connections are in use, so that a burst of requests looks like an
unreachable Redis. In this pool callers wait in the order of their arrival; a caller beyond a bound, or after a
time-out, gets a `StoreBusy` error.
"""

import asyncio
from typing import Any, Final, cast

from redis.asyncio import ConnectionPool, Redis

from gateway.errors import StoreBusy

CONNECTIONS_MAX: Final = 32
"""Connections of one client. More connections do not speed up the requests of one process."""
_WAITING_MAX: Final = 1_024
_WAIT_MAX_S: Final = 5.0


class BoundedPool:
    """Limits the use of a redis-py pool, with the same interface.

    Args:
        pool: the pool; its own limit is higher.
        connections_max: most connections in use at a time.
        waiting_max: most callers that may wait for one.
        patience_s: longest wait of a caller.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        connections_max: int = CONNECTIONS_MAX,
        *,
        waiting_max: int = _WAITING_MAX,
        patience_s: float = _WAIT_MAX_S,
    ) -> None:
        self._pool: Any = pool  # parts of it have no type annotations
        self._free = asyncio.Semaphore(connections_max)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection, once one is free.

        Raises:
            StoreBusy: too many callers are waiting, or no connection became free in time.
        """
        await self._take()
        try:
            return await self._pool.get_connection(*args, **options)
        except BaseException:
            self._free.release()
            raise

    async def release(self, connection: Any) -> None:
        """Return a connection to the pool."""
        try:
            await self._pool.release(connection)
        finally:
            self._free.release()

    async def _take(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # does not block: the semaphore is free
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
    """Put a `BoundedPool` in front of the client's pool and return the client. `options` are those of `BoundedPool`."""
    redis.connection_pool = cast(
        "ConnectionPool", BoundedPool(redis.connection_pool, connections_max, **options)
    )
    return redis
