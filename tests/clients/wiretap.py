"""Relay between a sender and the gateway that records the bytes in both directions.

The senders stay as documented; the responses that they received are read from the wire.
"""

import asyncio
from typing import Final, Self

ENDING_S: Final = 5.0
"""Longest time for a connection to end after its sender has ended."""


class Wiretap:
    """Relays connections to `url` and records the bytes: `sent` by the clients, `answered` to them."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self.sent = b""
        self.answered = b""

    @property
    def url(self) -> str:
        """The URL for clients."""
        assert self._server is not None, "use it as a context manager"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        if self._relays:
            _ended, open_still = await asyncio.wait(self._relays, timeout=ENDING_S)
            for relay in open_still:
                relay.cancel()
            await asyncio.gather(*open_still, return_exceptions=True)

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)

        async def up() -> None:
            while chunk := await reader.read(65536):
                self.sent += chunk
                far_writer.write(chunk)
            far_writer.write_eof()

        async def down() -> None:
            while chunk := await far_reader.read(65536):
                self.answered += chunk
                writer.write(chunk)

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(up())
                tasks.create_task(down())
        finally:
            for end in (writer, far_writer):
                end.close()
                await end.wait_closed()
