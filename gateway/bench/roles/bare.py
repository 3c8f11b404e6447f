"""The lower bound of any HTTP ingress in Python: a protocol on uvloop that answers everything it reads with the same
200.

It parses nothing. The generator has one request in flight on a connection, which arrives as a whole, so each read is
a request, and the remaining cost is the kernel's and uvloop's.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

from gateway.bench.roles import result

_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Bare(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. (uvloop's transports do not inherit from asyncio's.)"""
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, _: bytes) -> None:
        """Send the response."""
        self._write(_ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", 0)
    async with server:
        result(server.sockets[0].getsockname()[1])
        # Blocks in a thread until the end of the orchestrator's pipe
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(_serve())
