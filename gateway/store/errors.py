"""Conversion of redis-py's errors to the gateway's, for the clients of `gateway.store.client_factory`."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import MaxConnectionsError, RedisError

from gateway.errors import StoreBusy, StoreDown
from gateway.store.error_replies import ERROR_REPLY_LOG, to_store_error


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Convert redis-py's errors in a `with` block.

    Raises:
        StoreDown: with its cause, if Redis cannot be reached or refuses temporarily.
        StoreRefused: Redis refuses until an operator changes something.
        StoreBusy: the client has no free connection; no command was sent to Redis.
    """
    try:
        yield
    except MaxConnectionsError as error:
        raise StoreBusy("all connections to Redis are in use") from error
    except (RedisError, OSError, TimeoutError) as error:
        # The new error is not bound to a name: its traceback would refer to itself, and keep the request's body in
        # memory.
        raise _noted(to_store_error(error)) from error


def _noted(error: StoreDown) -> StoreDown:
    ERROR_REPLY_LOG.log(error.message, "requests")
    return error


class RedisCommands:
    """Single commands to Redis, with the gateway's errors.

    Args:
        redis: the client.
    """

    def __init__(self, redis: Redis) -> None:
        # redis-py's method has no type annotations
        self._command: Callable[..., Awaitable[Any]] = redis.execute_command

    async def __call__(self, *words: str) -> Any:
        """The reply as redis-py returns it.

        Raises:
            StoreDown: Redis cannot be reached or refuses.
        """
        with redis_errors():
            return await self._command(*words)

    async def texts(self, *words: str) -> list[str | None]:
        """A reply of several strings, decoded."""
        found = await self(*words)
        return [None if text is None else text.decode("utf-8", "replace") for text in found]
