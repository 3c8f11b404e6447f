"""The connections of the main port, and the part of them that the listening protocol uses.

`gateway.limits.eviction` decides which of them is closed for a new one; the credentials are an API token or a session.
"""

from typing import Protocol

from gateway.http_api.dependencies import HttpTimeouts
from gateway.limits.connection_limits import ConnectionLimits
from gateway.limits.eviction import ConnectionRegistry, EvictableConnection


class HttpConnection(EvictableConnection, Protocol):
    """A connection of the main port, served by the fast path or by aiohttp."""

    def check_timeouts(self, ticks: int, timeouts: HttpTimeouts) -> None:
        """End the connection if it exceeds a time limit; called at each tick of the coarse clock."""

    def drain(self) -> None:
        """Close an idle connection now, another one after its responses."""


class HttpConnections(ConnectionRegistry[HttpConnection]):
    """All connections of the main port.

    Args:
        limits: the limits of connections.
    """

    __slots__ = ()

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__(limits.main_full, limits.count_main)
