"""The listener of `metrics.port`: GET and HEAD of `/metrics`, one request a connection.

It runs in the supervisor's metrics thread and is written for hostile clients: the head has a size and a time, the
answer has a time, and there is a ceiling for connections, at which the oldest one whose head is not complete makes
room. A scraper sends its head at once, so it is served also while others hold every connection open.
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
"""Longest time from the connection to the end of the head."""
ANSWER_S: Final = 15.0
"""Longest time from the end of the head until the client has taken the answer."""
LINGER_S: Final = 1.0
"""Longest wait for the client's end after the answer: closing before would take the answer away from it."""

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
"""Calls its argument with the rendered metrics, soon."""


class ScrapeStage(enum.Enum):
    """How far a connection is, and how long that may take in seconds."""

    HEAD = HEAD_S
    ANSWER = ANSWER_S
    LINGER = LINGER_S


class Scraper(BufferedSocket):
    """One connection of a scraper.

    Args:
        sock, selector: as for `BufferedSocket`.
        render: gives the metrics.
    """

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector, render: Render) -> None:
        super().__init__(sock, selector)
        self._render = render
        self._head = b""
        self._with_body = True
        self._enter(ScrapeStage.HEAD)

    def overdue(self, now_s: float) -> bool:
        """Whether its stage has taken too long. `now_s`: monotonic seconds."""
        return now_s > self._until_s

    def received(self, data: bytes) -> None:
        """Collect the head; what comes behind it is thrown away."""
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
            self._answer(status, f"{status}: only GET /metrics is answered here\n".encode())

    def sent(self) -> None:
        """End our side, and wait for the client to end its own."""
        if self.stage is ScrapeStage.ANSWER:
            self._enter(ScrapeStage.LINGER)
            with contextlib.suppress(OSError):  # the client is gone
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
    """The method, and the status of the answer, of a request's head (RFC 9112, section 3)."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", _BAD
    method, target = words[0], words[1].partition("?")[0]
    if target != "/metrics":
        return method, _NOT_FOUND
    return method, _OK if method in ("GET", "HEAD") else _NOT_ALLOWED


class MetricsListener:
    """Accepts scrapers.

    Args:
        listener: the bound socket.
        selector: the thread's.
        render: gives the metrics.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, render: Render) -> None:
        self._listener, self._selector, self._render = listener, selector, render
        self._scrapers: list[Scraper] = []  # the oldest first
        selector.register(listener, selectors.EVENT_READ, self)

    def ready(self, _: int) -> None:
        """Accept one; where there are too many, the oldest without a whole head makes room, or else the new one."""
        try:
            sock, _address = self._listener.accept()
        except BlockingIOError:  # it has gone already
            return
        except OSError:  # no descriptors just now: the listener stays ready, so this would turn without end
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
        """Close those that take too long."""
        now_s = time.monotonic()
        for scraper in self._scrapers:
            if scraper.overdue(now_s):
                scraper.close()
        self._drop_closed()

    def _drop_closed(self) -> None:
        self._scrapers = [one for one in self._scrapers if not one.closed]
