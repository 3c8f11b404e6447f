"""Connections of redis-py that tolerate unneeded credentials, and a Redis that refuses CLIENT SETNAME (see
`gateway.store.authentication`), and that do not lose the cancellation of a task.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import AuthenticationError, RedisError

from gateway.store.address import RedisAddress
from gateway.store.authentication import needs_none, password_alone, warn_no_password, warn_user_ignored
from gateway.store.error_replies import original_error, words_of

_ADDRESS: Final = "rhopush_address"
"""The connection option that carries the address to the warnings."""


class _LenientAuth:
    """Mix-in for redis-py's connection classes: each attempt omits one item that Redis refused."""

    def __init__(self, **options: Any) -> None:
        self._address: RedisAddress | None = options.pop(_ADDRESS, None)
        super().__init__(**options)
        connection: Any = self
        self._login: tuple[str | None, str | None] = connection.username, connection.password

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect as redis-py does, and try again without the refused item if that helps.

        A new attempt is needed because redis-py closes a connection whose first commands fail. Each call begins with
        the complete login again.
        """
        connection: Any = self
        user, _ = connection.username, connection.password = self._login
        base: Any = super()
        connect = partial(base.connect_check_health, check_health, retry_socket_connect)
        try:
            await self._attempt(connect)
        except RedisError as error:
            if not user or not connection.password or not password_alone(words_of(original_error(error))):
                raise
            connection.username = None
            if not await self._attempt_alone(connect):
                raise
            warn_user_ignored(self._address, user)

    async def _attempt(self, connect: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await connect()
            except RedisError as error:
                if not self._drop_refused(words_of(original_error(error))):
                    raise
            else:
                return

    async def _attempt_alone(self, connect: Callable[[], Awaitable[None]]) -> bool:
        """Connect with the password alone; False: Redis refuses that, too."""
        try:
            await self._attempt(connect)
        except RedisError as error:
            if not isinstance(original_error(error), AuthenticationError):
                raise
            return False
        return True

    def _drop_refused(self, words: str) -> bool:
        """Omit the name, or the password of an address without a user; False: neither helps."""
        connection: Any = self
        if "NOPERM" in words and connection.client_name:
            connection.client_name = None  # the name only helps operators
            return True
        user, _ = self._login
        if connection.password and not user and needs_none(words):
            connection.password = None
            warn_no_password(self._address)
            return True
        return False


class _KeptCancellation:
    """Mix-in for redis-py's connection classes: a task that is cancelled while it sends a command ends.

    redis-py sends within `asyncio.wait_for`. Up to Python 3.11 that function returns as if there was no cancellation if
    the data were sent in the same turn of the event loop, and a task that sends in a loop would never end.
    """

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send as redis-py does.

        Raises:
            asyncio.CancelledError: the task was cancelled; the connection is closed, as after each incomplete command.
        """
        base: Any = super()
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await base.send_packed_command(*args, **options)
        if task and task.cancelling() > before:
            connection: Any = self
            await connection.disconnect(nowait=True)
            raise asyncio.CancelledError


class _Connection(_LenientAuth, _KeptCancellation, Connection):
    pass


class _SSLConnection(_LenientAuth, _KeptCancellation, SSLConnection):
    pass


class _UnixConnection(_LenientAuth, _KeptCancellation, UnixDomainSocketConnection):
    pass


class _SentinelConnection(_LenientAuth, _KeptCancellation, SentinelManagedConnection):
    pass


class _SentinelSSLConnection(_LenientAuth, _KeptCancellation, SentinelManagedSSLConnection):
    pass


_CLASSES: Final[dict[Any, Any]] = {
    Connection: _Connection,
    SSLConnection: _SSLConnection,
    UnixDomainSocketConnection: _UnixConnection,
    SentinelManagedConnection: _SentinelConnection,
    SentinelManagedSSLConnection: _SentinelSSLConnection,
}


async def close_at_once(redis: Redis) -> None:
    """Close the connections of a client without a wait.

    `Redis.aclose` waits for tasks that close them. A cancellation at the beginning of that wait ends these tasks before
    they have closed anything.
    """
    pool: Any = redis.connection_pool
    for connection in (*pool._available_connections, *pool._in_use_connections):
        await connection.disconnect(nowait=True)


def with_own_connections(redis: Redis, address: RedisAddress) -> Redis:
    """Make the connections of a client instances of the classes above. The client must not have a connection yet."""
    pool: Any = redis.connection_pool
    pool.connection_class = _CLASSES[pool.connection_class]
    pool.connection_kwargs[_ADDRESS] = address
    return redis
