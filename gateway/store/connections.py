"""Connections of redis-py that also stand where AUTH does not quite fit, and where Redis refuses to name them.

See `gateway.store.authentication`.
"""

from typing import Any, Final

from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection
from redis.exceptions import RedisError

from gateway.store.address import Address
from gateway.store.authentication import needs_none, password_alone, warn_no_password, warn_user_ignored
from gateway.store.refusals import origin, words_of

_ADDRESS: Final = "rhopush_address"
"""The option of a connection by which its address reaches the warning."""


class _Tolerant:
    """Over a connection class of redis-py. Each attempt leaves one thing out that Redis refused."""

    def __init__(self, **options: Any) -> None:
        self._address: Address | None = options.pop(_ADDRESS, None)
        super().__init__(**options)

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect as redis-py does, and once more where it helps to leave something out: redis-py ends a connection
        whose first commands fail."""
        mine: Any = self
        base: Any = super()
        user = mine.username
        while True:
            try:
                await base.connect_check_health(check_health, retry_socket_connect)
            except RedisError as error:
                if not self._give_in(mine, words_of(origin(error))):
                    raise
            else:
                break
        if user and mine.username is None and mine.password is not None:
            warn_user_ignored(self._address, user)

    def _give_in(self, mine: Any, words: str) -> bool:
        """Leave out the name, the user or the password; False: none of them helps."""
        if "NOPERM" in words and mine.client_name:
            mine.client_name = None  # the name only helps operators
            return True
        if mine.username and mine.password and password_alone(words):
            mine.username = None
            return True
        if mine.password and needs_none(words):
            mine.username = mine.password = None
            warn_no_password(self._address)
            return True
        return False


class _TolerantConnection(_Tolerant, Connection):
    pass


class _TolerantSSLConnection(_Tolerant, SSLConnection):
    pass


class _TolerantUnixConnection(_Tolerant, UnixDomainSocketConnection):
    pass


class _TolerantSentinelConnection(_Tolerant, SentinelManagedConnection):
    pass


class _TolerantSentinelSSLConnection(_Tolerant, SentinelManagedSSLConnection):
    pass


_CLASSES: Final[dict[Any, Any]] = {
    Connection: _TolerantConnection,
    SSLConnection: _TolerantSSLConnection,
    UnixDomainSocketConnection: _TolerantUnixConnection,
    SentinelManagedConnection: _TolerantSentinelConnection,
    SentinelManagedSSLConnection: _TolerantSentinelSSLConnection,
}


def tolerant(redis: Redis, address: Address) -> Redis:
    """The client; its connections, of which none stands yet, are of the classes above."""
    pool: Any = redis.connection_pool
    pool.connection_class = _CLASSES[pool.connection_class]
    pool.connection_kwargs[_ADDRESS] = address
    return redis
