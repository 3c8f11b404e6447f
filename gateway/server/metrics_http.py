"""The listener of `metrics.port`: GET and HEAD of `/metrics`, one request per connection.

The listener runs in the supervisor's metrics thread and is written for hostile clients: the head has limits of size and
time, the response has a time limit, and at the limit of connections the oldest one with an incomplete head is closed
for a new one. A scraper sends its head at once, so it is served even while other clients hold every connection open.
"""

import contextlib
import enum
import selectors
import socket
import time
from collections.abc import Callable
from typing import Final

from gateway.metrics import CONTENT_TYPE
from gateway.server.buffered_socket import BufferedSocket
from protocols.response_headers import SAFETY_HEADERS

CONNECTIONS_MAX: Final = 64
HEAD_BYTES_MAX: Final = 8192
HEAD_S: Final = 5.0
"""Longest time from the connection to the end of the head, in seconds."""
ANSWER_S: Final = 15.0
"""Longest time from the end of the head until the client has received the response, in seconds."""
LINGER_S: Final = 1.0
"""Longest wait for the client's close after the response: an earlier close could discard the response."""

_PAUSE_S: Final = 0.05

_SAFETY: Final = "".join(f"{name}: {value}\r\n" for name, value in SAFETY_HEADERS)
_OK, _BAD, _NOT_FOUND, _NOT_ALLOWED, _LARGE = (
    "200 OK",
    "400 Bad Request",
    "404 Not Found",
    "405 Method Not Allowed",
    "431 Request Header Fields Too Large",
)

Render = Callable[[Callable[[bytes], None]], None]
"""Calls its argument with the rendered metrics, later."""


class ScrapeStage(enum.Enum):
    """Stage of a connection; the value is its time limit in seconds."""

    HEAD = HEAD_S
    ANSWER = ANSWER_S
    LINGER = LINGER_S


class Scraper(BufferedSocket):
    """One connection of a scraper.

    Args:
        sock, selector: as for `BufferedSocket`.
        render: provides the metrics.
    """

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector, render: Render) -> None:
        super().__init__(sock, selector)
        self._render = render
        self._head = b""
        self._with_body = True
        self._enter(ScrapeStage.HEAD)

    def overdue(self, now_s: float) -> bool:
        """Return whether the current stage exceeds its time limit. `now_s`: monotonic seconds."""
        return now_s > self._until_s

    def received(self, data: bytes) -> None:
        """Collect the head; further data is discarded."""
        if self.stage is not ScrapeStage.HEAD:
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) <= HEAD_BYTES_MAX:
            return
        self._enter(ScrapeStage.ANSWER)
        method, status = request_of(self._head) if 0 <= end <= HEAD_BYTES_MAX else ("", _LARGE)
        self._with_body = method != "HEAD"
        if status == _OK:
            self._render(lambda text: self._answer(_OK, text))
        else:
            self._answer(status, f"{status}: this port serves GET /metrics only\n".encode())

    def sent(self) -> None:
        """Close this side, and wait for the client to close its side."""
        if self.stage is ScrapeStage.ANSWER:
            self._enter(ScrapeStage.LINGER)
            with contextlib.suppress(OSError):  # the client has disconnected
                self.sock.shutdown(socket.SHUT_WR)

    def _answer(self, status: str, body: bytes) -> None:
        if self.closed:
            return
        kind = CONTENT_TYPE if status == _OK else "text/plain; charset=utf-8"
        allow = "Allow: GET, HEAD\r\n" if status == _NOT_ALLOWED else ""
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{allow}"
            f"{_SAFETY}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.send(head.encode() + (body if self._with_body else b""))

    def _enter(self, stage: ScrapeStage) -> None:
        self.stage = stage
        self._until_s = time.monotonic() + stage.value


def request_of(head: bytes) -> tuple[str, str]:
    """Return the method of a request's head and the status of the response (RFC 9112, section 3)."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", _BAD
    method, target = words[0], words[1].partition("?")[0]
    if target != "/metrics":
        return method, _NOT_FOUND
    return method, _OK if method in ("GET", "HEAD") else _NOT_ALLOWED


class MetricsListener:
    """Accepts the connections of scrapers.

    Args:
        listener: the bound socket.
        selector: the thread's selector.
        render: provides the metrics.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, render: Render) -> None:
        self._listener, self._selector, self._render = listener, selector, render
        self._scrapers: list[Scraper] = []  # oldest first
        selector.register(listener, selectors.EVENT_READ, self)

    def ready(self, _: int) -> None:
        """Accept one connection. At the limit, close the oldest one with an incomplete head, or else the new one."""
        try:
            sock, _address = self._listener.accept()
        except BlockingIOError:  # the client has disconnected already
            return
        except OSError:  # out of descriptors: the listener stays ready, so the loop would spin
            time.sleep(_PAUSE_S)
            return
        self._drop_closed()
        if len(self._scrapers) >= CONNECTIONS_MAX:
            idle = next((one for one in self._scrapers if one.stage is not ScrapeStage.ANSWER), None)
            if idle is None:
                sock.close()
                return
            idle.close()
        self._scrapers.append(Scraper(sock, self._selector, self._render))

    def sweep(self) -> None:
        """Close the connections that exceed a time limit."""
        now_s = time.monotonic()
        for scraper in self._scrapers:
            if scraper.overdue(now_s):
                scraper.close()
        self._drop_closed()

    def _drop_closed(self) -> None:
        self._scrapers = [one for one in self._scrapers if not one.closed]
