"""The connections of the main port, and the part of them that the listening protocol uses.

`gateway.limits.eviction` says which of them makes room for a new one; the credentials are an API token or a session.
"""

from typing import Protocol

from gateway.http_api.dependencies import HttpTimeouts
from gateway.limits.connection_limits import ConnectionLimits
from gateway.limits.eviction import ConnectionRegistry, EvictableConnection


class HttpConnection(EvictableConnection, Protocol):
    """A connection of the main port, whether it answers itself or aiohttp does."""

    def check_timeouts(self, ticks: int, timeouts: HttpTimeouts) -> None:
        """End the connection where it takes too long; called at each tick of the coarse clock."""

    def drain(self) -> None:
        """Close now where the connection is idle, else after its responses."""


class HttpConnections(ConnectionRegistry[HttpConnection]):
    """All connections of the main port.

    Args:
        limits: how many there may be.
    """

    __slots__ = ()

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__(limits.main_full, limits.count_main)
