"""A server that is no gateway: it gives every connection the bytes that a test wrote, whatever was requested."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class RawServer:
    """Answers each request with the same bytes, and ends the connection.

    Args:
        response: the bytes; None: one byte at a time until the client closes the connection.

    Attributes:
        requests: the heads of the requests.
    """

    def __init__(self, response: bytes | None) -> None:
        self.requests: list[bytes] = []
        self._response = response
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._over.set()
        socket.create_connection(self._listener.getsockname()).close()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                received = connection.recv(65_536)
                if not received:
                    return
                head += received
            self.requests.append(head)
            if self._response is None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not self._over.wait(0.05):
                    connection.sendall(b" ")
                return
            connection.sendall(self._response)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass


@contextmanager
def raw(response: bytes | None) -> Iterator[RawServer]:
    """Run one as long as the block lasts."""
    server = RawServer(response)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
        server._listener.close()


def with_body(body: bytes, status: str = "200 OK", header: str = "") -> bytes:
    """A complete response."""
    head = f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body
