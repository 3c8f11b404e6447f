"""A socket that never blocks, with the bytes that wait to be sent on it."""

import selectors
import socket
from collections.abc import Iterator

import pytest

from gateway.server.buffered_socket import BufferedSocket

LONG = b"x" * 4_000_000


class Noted(BufferedSocket):
    """Notes what happens to it."""

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector) -> None:
        self.got = b""
        self.events: list[str] = []
        super().__init__(sock, selector)

    def received(self, data: bytes) -> None:
        self.got += data

    def sent(self) -> None:
        self.events.append("sent")

    def ended(self) -> None:
        self.events.append("ended")


class Pair:
    """One end, and the other side's socket."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        ours, self.other = socket.socketpair()
        self.end = Noted(ours, self.selector)

    def turn(self) -> None:
        """Serve what is ready within a second."""
        for key, events in self.selector.select(1.0):
            key.data.ready(events)

    def drained(self) -> int:
        """Read at the other side until all was sent; how many bytes came."""
        self.other.setblocking(False)
        came = 0
        while self.end.unsent or came < len(LONG):
            try:
                came += len(self.other.recv(1 << 20))
            except BlockingIOError:
                self.turn()
        return came


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.end.close()
    made.other.close()
    made.selector.close()


def test_received_data_is_passed_to_the_subclass(pair: Pair) -> None:
    pair.other.sendall(b"hello")
    pair.turn()
    assert pair.end.got == b"hello"


def test_unsent_data_is_buffered_without_blocking(pair: Pair) -> None:
    pair.end.send(LONG)
    assert pair.end.unsent
    assert pair.end.events == []
    assert pair.drained() == len(LONG)
    assert (pair.end.unsent, pair.end.events) == (False, ["sent"])


def test_the_end_of_the_other_side_closes_it_once(pair: Pair) -> None:
    pair.other.close()
    pair.turn()
    assert (pair.end.closed, pair.end.events) == (True, ["ended"])
    pair.end.close()
    assert pair.end.events == ["ended"]
    assert not pair.selector.get_map()


def test_a_write_to_a_closed_peer_closes_it(pair: Pair) -> None:
    pair.other.close()
    pair.end.send(b"late")
    assert (pair.end.closed, pair.end.events) == (True, ["ended"])
