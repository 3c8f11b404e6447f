"""Connections of redis-py that tolerate unneeded credentials, and a Redis that refuses CLIENT SETNAME.

See `gateway.store.authentication`.
"""

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


class _LenientConnection(_LenientAuth, Connection):
    pass


class _LenientSSLConnection(_LenientAuth, SSLConnection):
    pass


class _LenientUnixConnection(_LenientAuth, UnixDomainSocketConnection):
    pass


class _LenientSentinelConnection(_LenientAuth, SentinelManagedConnection):
    pass


class _LenientSentinelSSLConnection(_LenientAuth, SentinelManagedSSLConnection):
    pass


_CLASSES: Final[dict[Any, Any]] = {
    Connection: _LenientConnection,
    SSLConnection: _LenientSSLConnection,
    UnixDomainSocketConnection: _LenientUnixConnection,
    SentinelManagedConnection: _LenientSentinelConnection,
    SentinelManagedSSLConnection: _LenientSentinelSSLConnection,
}


def with_lenient_auth(redis: Redis, address: RedisAddress) -> Redis:
    """Make the connections of a client instances of the classes above. The client must not have a connection yet."""
    pool: Any = redis.connection_pool
    pool.connection_class = _CLASSES[pool.connection_class]
    pool.connection_kwargs[_ADDRESS] = address
    return redis
