"""A non-blocking socket in a selector, with a buffer of unsent bytes."""

import contextlib
import selectors
import socket
from typing import Final

_READ_BYTES: Final = 65_536


class BufferedSocket:
    """One connection of a thread that serves many. Subclasses handle the received data.

    Args:
        sock: a connected socket.
        selector: the thread's selector; the socket is registered in it until `close`.
    """

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.closed = False
        self._selector = selector
        self._unsent = b""
        selector.register(sock, selectors.EVENT_READ, self)

    @property
    def unsent(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._unsent)

    def send(self, data: bytes) -> None:
        """Send as much as the socket accepts, and buffer the rest."""
        self._unsent += data
        self._send_more()

    def ready(self, events: int) -> None:
        """Read and write according to the selector's events."""
        if events & selectors.EVENT_WRITE and not self.closed:
            self._send_more()
        if events & selectors.EVENT_READ and not self.closed:
            self._read()

    def close(self) -> None:
        """Close the socket and call `ended`. A second call does nothing."""
        if not self.closed:
            self.closed = True
            self._selector.unregister(self.sock)
            self.sock.close()
            self.ended()

    def received(self, data: bytes) -> None:
        """Handle data from the peer."""
        raise NotImplementedError

    def sent(self) -> None:
        """Handle the moment at which all data was passed to the kernel."""

    def ended(self) -> None:
        """Handle the close of the connection."""

    def _read(self) -> None:
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received(data)
        else:
            self.close()

    def _send_more(self) -> None:
        if not self._unsent:
            return
        try:
            with contextlib.suppress(BlockingIOError):
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except OSError:
            self.close()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self.sock, wanted, self)
        if not self._unsent:
            self.sent()
