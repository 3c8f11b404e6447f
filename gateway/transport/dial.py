"""Opening one connection: name look-up, TCP, TLS and ALPN, within one time limit."""

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from gateway.errors import ProviderUnreachable
from gateway.transport.connection import ProviderConnection
from gateway.transport.error_text import describe
from gateway.transport.feed import BATCH, Endpoint, OutgoingRequest
from protocols.http2.client import ClientConnection, RequestOutcome

SSL_SHUTDOWN_S: Final = 1.0
"""A frozen peer never confirms the end of TLS; the default would wait 30 s for it."""
HAPPY_EYEBALLS_S: Final = 0.25
"""Delay before the next address of a name is tried (RFC 8305 §5 advises 250 ms)."""

_shuffle: Final = random.SystemRandom().shuffle


async def dial(
    endpoint: Endpoint, make: Callable[[], ProviderConnection], timeout_s: float
) -> ProviderConnection:
    """Connect after a new name look-up, as Apple requests for every connection.

    Args:
        endpoint: the provider's address.
        make: makes the protocol, once the socket is connected.
        timeout_s: limit for all steps together.

    Returns:
        The connection, not yet started.

    Raises:
        ProviderUnreachable: with a reason fit for a log.
    """
    tls = endpoint.ssl is not None
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _connect(endpoint)
            _, connection = await asyncio.get_running_loop().create_connection(
                make,
                sock=sock,
                ssl=endpoint.ssl,
                server_hostname=endpoint.host if tls else None,
                ssl_handshake_timeout=timeout_s if tls else None,
                ssl_shutdown_timeout=SSL_SHUTDOWN_S if tls else None,
            )
    except TimeoutError as error:
        raise ProviderUnreachable(f"no connection within {timeout_s:g} s") from error
    except (OSError, UnicodeError, RuntimeError) as error:  # the last two: an invalid name, unusual addresses
        raise ProviderUnreachable(describe(error)) from error
    if connection.fault is not None:
        raise connection.fault
    if connection.ended.done():
        raise ProviderUnreachable(connection.machine.reason)
    return connection


async def _connect(endpoint: Endpoint) -> socket.socket:
    addresses = list(await _look_up(endpoint))
    # An address that accepts the connection and then stalls in TLS must not be the first of every attempt.
    _shuffle(addresses)
    # The loop's own connect tries the addresses one after the other: an unresponsive first one would use up the time
    # limit.
    return await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S)


async def _look_up(endpoint: Endpoint) -> Sequence[AddrInfoType]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)


async def probe(endpoint: Endpoint, timeout_s: float) -> None:
    """Check whether a provider can be reached and speaks HTTP/2, without sending a request.

    Args:
        endpoint: the provider's address.
        timeout_s: limit for all steps together.

    Raises:
        ProviderUnreachable: with a reason fit for a terminal.
    """
    loop = asyncio.get_running_loop()
    nobody = _Unowned()

    def make() -> ProviderConnection:
        machine = ClientConnection(deadline_s=timeout_s, now_s=loop.time())
        return ProviderConnection(machine, nobody, nobody, deadline_s=timeout_s, clock=loop.time)

    connection = await dial(endpoint, make, timeout_s)
    connection.start()
    connection.retire("probe")
    await connection.ended


class _Unowned:
    """A feed without requests, and an owner that ignores all calls."""

    def waiting(self) -> int:
        return 0

    def max_batch(self) -> int:
        return BATCH

    def take(self, n: int) -> Sequence[OutgoingRequest]:
        return ()

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        pass

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        pass

    def connection_full(self, connection: ProviderConnection) -> None:
        pass

    connection_left = connection_gone = connection_full
