"""Proxy in front of a Redis that loses requests or replies on demand."""

import asyncio
import tempfile
from pathlib import Path
from typing import Self, cast

_REACHED_S = 0.05
"""Time for a request to arrive before its connection ends, since its execution in Redis cannot be observed."""


class _Side(asyncio.Protocol):
    """One end of a connection through the proxy; bytes received here are sent by the other end."""

    def __init__(self, proxy: "Proxy", other: "_Side | None" = None) -> None:
        self.proxy = proxy
        self.other = other
        self.serves = other is not None
        self.deaf = False
        self._early: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.proxy.sides.add(self)
        if self.other is None:
            self.proxy.spawn(self)
        for data in self._early:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and not self.deaf:
            self.other.write(self.proxy.filtered(self, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.sides.discard(self)
        if self.other is not None:
            self.other.abort()

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._early.append(data)
        elif data:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Proxy:
    """Listens on a unix socket and forwards everything, until a loss is requested.

    Args:
        server: the unix socket of the real server.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._word: bytes | None = None
        self._request_too = False
        self._cut = True
        self._back = True
        self._held: list[tuple[_Side, bytes]] | None = None
        self.socket = Path(self._folder.name) / "s"
        self.sides: set[_Side] = set()
        self.struck = asyncio.Event()
        """Set after a loss."""

    @property
    def address(self) -> str:
        """The address in the form of a setting."""
        return f"unix://{self.socket}?db=0"

    def lose(self, word: bytes, *, request_too: bool = False, cut: bool = True, back: bool = True) -> None:
        """Lose the reply to the next request that contains `word`.

        Args:
            request_too: whether the request does not reach the server either.
            cut: whether the connection ends then; otherwise it stays open without further traffic.
            back: whether new connections are accepted afterwards; otherwise only after `restore`.
        """
        self._word, self._request_too, self._cut, self._back = word, request_too, cut, back
        self.struck.clear()

    def hold(self) -> None:
        """Hold all bytes from the server until `release`; requests still reach it."""
        self._held = []

    def release(self) -> None:
        """Forward the held bytes in order, and everything after them."""
        held, self._held = self._held or [], None
        for caller, data in held:
            caller.write(data)

    async def restore(self) -> None:
        """Accept connections again."""
        if self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_unix_server(lambda: _Side(self), self.socket)

    def vanish(self) -> None:
        """Refuse connections, and close the open ones."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.socket.unlink(missing_ok=True)
        for side in list(self.sides):
            side.abort()

    def spawn(self, caller: _Side) -> None:
        """Connect a caller with the server, and set its other side immediately."""
        server = caller.other = _Side(self, caller)
        task = asyncio.create_task(self._connect(caller, server))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, caller: _Side, server: _Side) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: server, str(self._server))
        except OSError:
            caller.abort()

    def filtered(self, side: _Side, data: bytes) -> bytes:
        """The part of the data that is forwarded."""
        if self._held is not None and side.serves and side.other is not None:
            self._held.append((side.other, data))
            return b""
        if self._word is None or self._word not in data or side.other is None:
            return data
        self._word = None
        side.other.deaf = True
        self.struck.set()
        if not self._back or self._cut:
            ending = side.abort if self._back else self.vanish
            asyncio.get_running_loop().call_later(_REACHED_S, ending)
        return b"" if self._request_too else data

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*self._tasks)
        self.vanish()
        self._folder.cleanup()
