"""The RhoConnect Push Service for legacy devices, on rhoconnect-push's wire and keys."""

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
_HANDSHAKE_S = 15.0  # a connection counts only after its TLS handshake; as long as a request may take


class RunningService:
    """The service on its socket.

    Args:
        service: the connections' maker.
        server: the listener.
    """

    def __init__(self, service: PushService, server: asyncio.Server) -> None:
        self.service = service
        self._server = server

    async def close(self, budget_s: float) -> None:
        """Take nothing new, answer all polls, then end within the budget."""
        self._server.close()
        await self.service.close(budget_s)


async def open_service(
    service: PushService, sock: socket.socket, tls: ssl.SSLContext | None = None
) -> RunningService:
    """Listen on a bound socket (many processes may share it). It is closed with the service."""
    sock.setblocking(False)
    server = await asyncio.get_running_loop().create_server(
        service,
        sock=sock,
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
    )
    return RunningService(service, server)
