"""Where redis-py's failures become ours, for the clients of `gateway.store.client_factory`."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import MaxConnectionsError, RedisError

from gateway.errors import StoreBusy, StoreDown
from gateway.store.error_replies import ERROR_REPLY_LOG, to_store_error


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Around commands: raises StoreDown, with its cause, where Redis cannot be reached or refuses for now, and
    StoreRefused where it refuses until an operator changes something.

    Where the client has no free connection, that is StoreBusy: Redis itself was not asked.
    """
    try:
        yield
    except MaxConnectionsError as error:
        raise StoreBusy("all connections to Redis are in use") from error
    except (RedisError, OSError, TimeoutError) as error:
        # No name holds the new error: with its traceback it would hold itself, and the request's body with it.
        raise _noted(to_store_error(error)) from error


def _noted(error: StoreDown) -> StoreDown:
    ERROR_REPLY_LOG.log(error.message, "requests")
    return error


class RedisCommands:
    """Single commands to Redis, with our errors.

    Args:
        redis: the client.
    """

    def __init__(self, redis: Redis) -> None:
        self._command: Callable[..., Awaitable[Any]] = redis.execute_command  # left untyped

    async def __call__(self, *words: str) -> Any:
        """What redis-py makes of the reply.

        Raises:
            StoreDown: Redis cannot be reached or refuses.
        """
        with redis_errors():
            return await self._command(*words)

    async def texts(self, *words: str) -> list[str | None]:
        """A reply of many strings, decoded."""
        found = await self(*words)
        return [None if text is None else text.decode("utf-8", "replace") for text in found]
