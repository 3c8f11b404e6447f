"""The load generator: keep-alive connections on non-blocking sockets, closed or open loop.

Closed loop: each connection has one request in flight, and sends the next when the response arrives. Open loop:
requests are due at fixed times whatever the state of the responses; a request that finds no free connection waits,
and its wait counts, so that a slow server is not hidden by a client that slows down (no coordinated omission).

There is no event loop, but epoll behind a select, whose time-out has microseconds while epoll's has milliseconds.
The generator sends and parses as little as a client can, so that it is not the measured bottleneck.
"""

import contextlib
import re
import select
import socket
import time
from array import array
from collections import Counter, deque
from typing import Final

import msgspec

from gateway.bench.roles import orders, progress, result

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SILENT_S: Final = 60.0
"""Longer than any response takes; after it the run is broken off."""
_PROGRESS_S: Final = 0.25
STRIDE: Final = 2_654_435_761
"""A prime near 2^32 divided by the golden ratio, so that the steps spread evenly over any number of users."""


class LoadOrder(msgspec.Struct):
    """One run.

    Attributes:
        port: port on 127.0.0.1.
        template: a complete request with `%07d` placeholders: one for each user that it names, one for its own
            number.
        requests: number of requests.
        users: number of users.
        connections: number of open connections.
        rate: requests a second, open loop; 0: closed loop.
        stride: distance between a user and the next one. 1: in order; with the default, no two of a few hundred
            thousand requests are for one user unless all users were picked.
        first: number of the first request.
        named: users that each request names, all different if there are enough. Consecutive requests cover all users
            as if each were named alone.
        keep_times: whether to return each request's users and time of sending too.
        reconnect: whether to open an idle connection that was closed again, as clients do, and to send the first
            request of a connection again if no part of its response arrived; every other closed connection ends the
            run.
        traced: whether the template begins with two placeholders for the request's number, those of its
            `traceparent`.
    """

    port: int
    template: str
    requests: int
    users: int
    connections: int = 64
    rate: float = 0.0
    stride: int = STRIDE
    first: int = 0
    named: int = 1
    keep_times: bool = False
    reconnect: bool = False
    traced: bool = False


class LoadResult(msgspec.Struct):
    """The result of a run.

    Attributes:
        statuses: number of responses by status.
        seconds: from the first request to the last response.
        cpu_s: CPU of this process.
        latencies_us: latency of each response, from the time at which its request was due.
        sent: user -> monotonic time at which its last request was due, with `keep_times`.
        resent: requests that were sent again on another connection, with `reconnect`.
    """

    statuses: dict[str, int]
    seconds: float
    cpu_s: float
    latencies_us: list[int]
    sent: dict[int, float] = {}
    resent: int = 0

    @property
    def answered(self) -> int:
        """Number of requests that were answered with 200."""
        return self.statuses.get("200", 0)


class _Line:
    """One connection."""

    __slots__ = ("answered", "due", "received", "request", "sock")

    def __init__(self, port: int) -> None:
        self.connect(port)
        self.received = b""
        self.request = b""
        """The request in flight; empty while the connection is idle."""
        self.due = 0.0

    def connect(self, port: int) -> None:
        """Open the connection."""
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answered = False
        """Whether a request was answered on this connection."""

    def send(self, request: bytes) -> None:
        """Send a request. A closed connection is detected when its response is read."""
        self.request = request
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(request)

    def answer(self) -> bytes | None:
        """The status of a complete response; None: not yet complete.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        data = self.received + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self.received = data
            return None
        length = _LENGTH.search(data, 0, head + 2)
        if length is None:
            raise ConnectionError("a response without Content-Length")
        if len(data) < head + 4 + int(length[1]):
            self.received = data
            return None
        self.received = self.request = b""
        self.answered = True
        return data[9:12]


class Load:
    """One run of the generator."""

    def __init__(self, order: LoadOrder) -> None:
        self._order = order
        self._template = order.template.encode()
        self._indexes = range(order.named)
        self._lines = [_Line(order.port) for _ in range(order.connections)]
        self._by_fd = {line.sock.fileno(): line for line in self._lines}
        self._free = deque(self._lines)
        self._due: deque[float] = deque()
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        self._made = self._given = self._done = 0
        self._statuses: Counter[bytes] = Counter()
        self._latencies = array("d")
        self._sent: dict[int, float] = {}
        self._resent = 0

    def run(self) -> LoadResult:
        """Run the load."""
        try:
            return self._run()
        finally:
            for line in self._lines:
                line.sock.close()
            self._poll.close()

    def _run(self) -> LoadResult:
        order = self._order
        begun, cpu = time.perf_counter(), time.process_time()
        reported = answered = begun
        while self._done < order.requests:
            now = time.perf_counter()
            self._schedule(now, begun)
            self._send()
            if self._wait(now, begun):
                answered = now
            elif now - answered > _SILENT_S:
                raise TimeoutError(f"no response for {_SILENT_S:.0f} s after {self._done} responses")
            if now - reported > _PROGRESS_S:
                reported = now
                progress(self._done / order.requests)
        ended = time.perf_counter()
        return LoadResult(
            {status.decode(): number for status, number in self._statuses.items()},
            ended - begun,
            time.process_time() - cpu,
            [round(seconds * 1e6) for seconds in self._latencies],
            self._sent,
            self._resent,
        )

    def _schedule(self, now: float, begun: float) -> None:
        """Record the requests that are due."""
        order = self._order
        if order.rate:
            due = min(order.requests, int((now - begun) * order.rate) + 1)
            while self._made < due:
                self._due.append(begun + self._made / order.rate)
                self._made += 1
        else:
            more = min(len(self._free), order.requests - self._made)
            self._due.extend([now] * more)
            self._made += more

    def _send(self) -> None:
        order, template = self._order, self._template
        while self._due and self._free:
            line = self._free.popleft()
            line.due = self._due.popleft()
            number = order.first + self._given
            before = number * order.named
            users = [(before + index) * order.stride % order.users for index in self._indexes]
            self._given += 1
            if order.keep_times:
                self._sent.update(dict.fromkeys(users, line.due))
            if order.traced:
                users = [number, number, *users]
            line.send(template % (*users, number))

    def _wait(self, now: float, begun: float) -> bool:
        """Read the responses that arrived, or wait for a response or a due request; return whether a response
        arrived."""
        order = self._order
        until = 1.0
        if order.rate and self._made < order.requests:
            until = max(0.0, min(until, begun + self._made / order.rate - now))
        if not select.select([self._poll.fileno()], [], [], until)[0]:
            return False
        for fd, _ in self._poll.poll(0):
            line = self._by_fd[fd]
            try:
                status = line.answer()
            except ConnectionError as error:
                self._reconnect(line, error)
                continue
            if status is not None:
                self._latencies.append(time.perf_counter() - line.due)
                self._statuses[status] += 1
                self._done += 1
                self._free.append(line)
        return True

    def _reconnect(self, line: _Line, error: ConnectionError) -> None:
        """Replace a connection that the server closed.

        Raises:
            ConnectionError: reconnecting is off, a part of a response had arrived, or a request was in flight on a
                connection that had answered before, which no server may close.
        """
        if line.received or not self._order.reconnect or (line.answered and line.request):
            raise error
        del self._by_fd[line.sock.fileno()]
        line.sock.close()  # this also removes it from the poll
        line.connect(self._order.port)
        self._by_fd[line.sock.fileno()] = line
        self._poll.register(line.sock.fileno(), select.EPOLLIN)
        if line.request:
            self._resent += 1
            line.send(line.request)


if __name__ == "__main__":
    for each in orders(LoadOrder):
        result(Load(each).run())
