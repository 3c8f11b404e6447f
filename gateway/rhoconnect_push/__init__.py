"""The RhoConnect Push service, compatible with the wire format and the Redis keys of rhoconnect-push."""

import asyncio
import socket
import ssl

from gateway.rhoconnect_push.auth import (
    USER_S,
    AppAuthenticator,
    Authenticator,
    RhoConnectAuthenticator,
    UserAuthenticator,
)
from gateway.rhoconnect_push.service import PushService, PushTimeouts

__all__ = [
    "USER_S",
    "AppAuthenticator",
    "Authenticator",
    "PushService",
    "PushTimeouts",
    "RhoConnectAuthenticator",
    "RunningService",
    "UserAuthenticator",
    "open_service",
]

_BACKLOG = 4_096
_HANDSHAKE_S = 15.0  # applies from the TCP connection on; equal to the time limit of a request


class RunningService:
    """The service and its listening socket.

    Args:
        service: creates the protocol of each connection.
        server: the listener.
    """

    def __init__(self, service: PushService, server: asyncio.Server) -> None:
        self.service = service
        self._server = server

    async def close(self, budget_s: float) -> None:
        """Stop listening, answer all polls and close all connections within the budget."""
        self._server.close()
        await self.service.close(budget_s)


async def open_service(
    service: PushService, sock: socket.socket, tls: ssl.SSLContext | None = None
) -> RunningService:
    """Serve on a bound socket, which several processes may share. Closing the service closes the socket."""
    sock.setblocking(False)
    server = await asyncio.get_running_loop().create_server(
        service,
        sock=sock,
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
    )
    return RunningService(service, server)
