"""Many RhoConnect Push devices in one process, and an app server beside them, on sockets and epoll.

The process holds nothing for each device but its socket.
"""

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.bench.errors import CannotMeasure
from gateway.bench.rhoconnect_push_devices import poll, post
from gateway.bench.roles import orders, progress, result
from protocols.rhoconnect_push.ids import Ids

_AN_ADDRESS: Final = 20_000
"""Devices for one loopback address, which has 28,000 ports."""
_SILENT_S: Final = 30.0
_AT_ONCE: Final = 200
_ID: Final = re.compile(rb'"id":(\d+)')


class PollingOrder(msgspec.Struct):
    """One order.

    Attributes:
        action: `poll` (all devices connect and poll), `round` (each gets one message and polls again, acknowledging
            it), or `post` (`count` messages to the devices in turn, over `connections`).
        port, secret: the port of the service, and the secret of its ids.
        count: number of devices, or of messages.
        devices: number of devices that receive messages.
        connections: connections of the app server.
    """

    action: str
    port: int
    secret: str
    count: int
    devices: int = 0
    connections: int = 64


class PollingResult(msgspec.Struct):
    """The result: number of responses with a message (or good responses to a post), and seconds."""

    answers: int
    seconds: float


class PollingDevices:
    """The devices.

    Args:
        order: port, secret and number of devices.
    """

    def __init__(self, order: PollingOrder) -> None:
        self._order = order
        self._ids = Ids(order.secret.encode())
        self._epoll = select.epoll()
        self._phones: dict[int, tuple[socket.socket, int]] = {}

    def connect(self) -> None:
        """Connect all devices and let each poll."""
        for number in range(self._order.count):
            address = f"127.0.0.{1 + number // _AN_ADDRESS}"
            phone = socket.create_connection((address, self._order.port), _SILENT_S)
            phone.sendall(poll(self._ids, number))
            phone.setblocking(False)
            self._phones[phone.fileno()] = (phone, number)
            self._epoll.register(phone, select.EPOLLIN)
            if number % _AT_ONCE == 0:
                progress(number / self._order.count)

    def round(self) -> int:
        """Wait until each device has one message; each polls again immediately."""
        left = len(self._phones)
        while left:
            events = self._epoll.poll(_SILENT_S)
            if not events:
                raise CannotMeasure(f"{left} devices received no message")
            for descriptor, _ in events:
                phone, number = self._phones[descriptor]
                found = _ID.search(phone.recv(4096))
                if found is None:
                    raise CannotMeasure(
                        "a device received the end of the connection or an error instead of a message"
                    )
                phone.send(poll(self._ids, number, found[1]))
                left -= 1
        return len(self._phones)


def post_all(order: PollingOrder) -> int:
    """Post messages, one request at a time on each connection; return the number of good responses."""
    ids = Ids(order.secret.encode())
    numbers = iter(range(order.count))
    epoll = select.epoll()
    with contextlib.ExitStack() as stack:
        lines = {}
        for _ in range(min(order.connections, order.count)):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", order.port), _SILENT_S))
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines[line.fileno()] = line
            epoll.register(line, select.EPOLLIN)
            line.sendall(post(ids, next(numbers) % order.devices))
        return sum(_answers(order, ids, numbers, lines, epoll))


def _answers(
    order: PollingOrder,
    ids: Ids,
    numbers: Iterator[int],
    lines: dict[int, socket.socket],
    epoll: select.epoll,
) -> Iterator[bool]:
    open_lines = len(lines)
    while open_lines:
        events = epoll.poll(_SILENT_S)
        if not events:
            raise CannotMeasure(f"{open_lines} messages were not answered")
        for descriptor, _ in events:
            yield lines[descriptor].recv(4096).startswith(b"HTTP/1.1 204")
            number = next(numbers, None)
            if number is None:
                open_lines -= 1
                epoll.unregister(descriptor)
            else:
                lines[descriptor].sendall(post(ids, number % order.devices))


def main() -> None:
    """Execute the orders."""
    crowd: PollingDevices | None = None
    for order in orders(PollingOrder):
        begun = time.perf_counter()
        answers = 0
        if order.action == "poll":
            crowd = PollingDevices(order)
            crowd.connect()
        elif order.action == "post":
            answers = post_all(order)
        elif crowd is not None:
            answers = crowd.round()
        result(PollingResult(answers, time.perf_counter() - begun))


if __name__ == "__main__":
    main()
