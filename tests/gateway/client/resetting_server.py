"""A server of bulk requests that resets its first connection at the moment that a test chooses.

It runs in threads: `reset` returns once the kernel has sent the reset, and the client's event loop has not run since.
"""

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.gateway.client.raw_server import with_body

WAIT_S = 30.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with a time of 0
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"\r\n0\r\n\r\n"


class ResettingServer:
    """Resets its first connection after the first line, and answers the whole body of the second one.

    Args:
        answers: whether the first connection has the answer to its first line before.

    Attributes:
        arrived: set once the first line of the first connection has arrived.
    """

    def __init__(self, *, answers: bool) -> None:
        self.arrived = threading.Event()
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S)
        self._wanted, self._done = threading.Event(), threading.Event()

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._listener.getsockname()[1])

    def reset(self) -> None:
        """Reset the first connection."""
        self._wanted.set()
        assert self._done.wait(WAIT_S)

    def serve(self) -> None:
        """Serve two connections."""
        with self._listener:
            self._serve_first(self._listener.accept()[0])
            self._serve_second(self._listener.accept()[0])

    def _serve_first(self, connection: socket.socket) -> None:
        with connection:
            _received(connection, b"}\n\r\n")
            if self._answers:
                answer = _answers([b"1"])
                connection.sendall(_HEAD + b"%x\r\n%b\r\n" % (len(answer), answer))
            self.arrived.set()
            self._wanted.wait(WAIT_S)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._done.set()

    def _serve_second(self, connection: socket.socket) -> None:
        with connection:
            body = _received(connection, _END)
            connection.sendall(with_body(_answers(re.findall(rb'"badge":(\d+)', body))))


def _received(connection: socket.socket, end: bytes) -> bytes:
    connection.settimeout(WAIT_S)
    found = b""
    while not found.endswith(end):
        data = connection.recv(65_536)
        assert data, "the client has closed the connection"
        found += data
    return found


def _answers(badges: list[bytes]) -> bytes:
    return b"".join(b'{"ping_id":"%b"}\n' % badge for badge in badges)


@contextmanager
def resetting(*, answers: bool) -> Iterator[ResettingServer]:
    """Run one as long as the block lasts."""
    server = ResettingServer(answers=answers)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    thread.join(WAIT_S)
