"""Limits of the HTTP connections on each of the two ports of one process, and the response beyond them.

The limit is `limits.connections` for each port, or is derived from RLIMIT_NOFILE (getrlimit(2)): `RESERVED_FILES`
are reserved for Redis, providers, files and the refusals below, and both ports share the others; a quarter of them
is reserved for each port, so that neither can use all. Without `RESERVED_FILES`, accept would fail with EMFILE, and
so would every connection to Redis and to a provider.
"""

import asyncio
import resource
from typing import Final, cast

from gateway.errors import ConnectionsFull
from gateway.system.open_files import RESERVED_FILES
from protocols.response_headers import SAFETY_HEADERS

_UNLIMITED_FILES: Final = 1_048_576  # Linux' own limit, fs.nr_open
_READING_MAX: Final = 64  # refused connections that may stay open until their clients have read the response
_REFUSED_S: Final = 2.0  # longest time in seconds for which they stay open
_BODY: Final = (
    b'{"error":{"code":"%b","message":"too many HTTP connections (limits.connections)","field":null}}'
    % ConnectionsFull.code.encode()
)
_HEADERS: Final = (
    ("Content-Type", "application/json; charset=utf-8"),
    ("Retry-After", "2"),
    ("Connection", "close"),
    ("Content-Length", str(len(_BODY))),
    *SAFETY_HEADERS,
)
_LINES: Final = [
    "HTTP/1.1 503 Service Unavailable",
    *(f"{name}: {value}" for name, value in _HEADERS),
    "",
    "",
]
_ANSWER: Final = "\r\n".join(_LINES).encode() + _BODY


class ConnectionLimits:
    """Connection limits of one process.

    Attributes:
        setting: `limits.connections`; None: derived.
        main: connections of the main port.
        push: connections of the RhoConnect Push port.
    """

    def __init__(self, setting: int | None = None) -> None:
        self.setting = setting
        self.main = 0
        self.push = 0
        self._refused = 0
        self._reading: set[RefusedConnection] = set()

    @property
    def most(self) -> int:
        """Largest number of connections of one port, reached while the other port has few."""
        return self._ceiling(0)

    def main_full(self) -> bool:
        """Whether the main port has reached its limit."""
        return self.main >= self._ceiling(self.push)

    def push_full(self) -> bool:
        """Whether the RhoConnect Push port has reached its limit."""
        return self.push >= self._ceiling(self.main)

    def count_main(self, count: int) -> None:
        """Set the number of connections of the main port."""
        self.main = count

    def count_push(self, count: int) -> None:
        """Set the number of connections of the RhoConnect Push port."""
        self.push = count

    def refuse(self, transport: asyncio.Transport) -> None:
        """Answer 503 on a new connection and close it."""
        self._refused += 1
        refusal = RefusedConnection(transport, self._reading)
        transport.set_protocol(refusal)
        refusal.begin(stay=len(self._reading) < _READING_MAX)

    def take_refused(self) -> int:
        """Number of connections refused since the last call."""
        count, self._refused = self._refused, 0
        return count

    def _ceiling(self, others: int) -> int:
        files = _soft_limit()
        usable = max(files - RESERVED_FILES, files // 2)
        possible = usable - max(others, usable // 4)
        return possible if self.setting is None else min(self.setting, possible)


class RefusedConnection(asyncio.Protocol):
    """A connection beyond the limit, which stays open until its client has read the response.

    Closing it immediately, with the client's request unread, would reset the connection and discard the response.

    Args:
        transport: the transport of the connection.
        staying: all refused connections that are still open.
    """

    def __init__(self, transport: asyncio.Transport, staying: set["RefusedConnection"]) -> None:
        self._transport = transport
        self._staying = staying
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, *, stay: bool) -> None:
        """Send the response; close the connection now, or once the client has closed it or `_REFUSED_S` have passed."""
        self._transport.write(_ANSWER)
        if not stay:
            self._transport.close()
            return
        self._staying.add(self)
        if self._transport.can_write_eof():  # TLS does not support it
            self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(_REFUSED_S, self._transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Do nothing: the connection exists already."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the open ones."""
        self._staying.discard(self)
        if self._timer is not None:
            self._timer.cancel()


def _soft_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED_FILES if soft == resource.RLIM_INFINITY else min(soft, _UNLIMITED_FILES)
