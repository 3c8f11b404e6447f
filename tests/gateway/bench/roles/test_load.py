"""The load generator against a server that the test controls."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.bench.roles.load import Load, LoadOrder
from gateway.bench.wire import PATH, ping_template
from gateway.tracing import parse


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[bytes] = []
        self.statuses: list[int] = []
        self.traces: list[str | None] = []
        self.held: threading.Event | None = None
        self.closes = 0
        """Requests at whose arrival the connection is closed without a response."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        assert self.path == PATH
        self.server.traces.append(self.headers["traceparent"])
        if self.server.held is not None:
            self.server.held.wait(10)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.closes:
            self.server.closes -= 1
            self.close_connection = True
            return
        self.server.bodies.append(body)
        self.send_response(self.server.statuses.pop() if self.server.statuses else 200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        with suppress(ConnectionError):  # a run that ended early
            self.wfile.write(b"12345")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def order(server: Server, requests: int, named: int = 1, **more: object) -> LoadOrder:
    port = server.server_address[1]
    return LoadOrder(port, ping_template(named=named), requests, 50, 4, named=named, **more)


def test_each_request_is_answered_once_and_counted_by_status() -> None:
    with serving() as server:
        server.statuses = [503, 503]
        done = Load(order(server, 100, stride=1)).run()
    assert (done.statuses, done.answered) == ({"200": 98, "503": 2}, 98)
    assert len(done.latencies_us) == 100
    users = sorted(body.partition(b'"user_id":["u')[2][:7] for body in server.bodies)
    assert users == sorted(b"%07d" % (number % 50) for number in range(100))


def test_a_closed_connection_is_reopened_only_on_request() -> None:
    with serving() as server:
        server.closes = 3
        done = Load(order(server, 20, reconnect=True)).run()
        assert (done.answered, done.resent, len(server.bodies)) == (20, 3, 20)
        loaded = Load(order(server, 20, reconnect=True))
        loaded._lines[0].answered = True
        server.closes = 4
        with pytest.raises(ConnectionError, match="the server closed the connection"):
            loaded.run()
    with serving() as server:  # a connection of the run before could take the close
        server.closes = 1
        with pytest.raises(ConnectionError, match="the server closed the connection"):
            Load(order(server, 20)).run()


def test_the_default_leaps_pick_every_user_once_before_any_twice() -> None:
    with serving() as server:
        Load(order(server, 50)).run()
    assert len({body.partition(b'"user_id":["u')[2][:7] for body in server.bodies}) == 50


@pytest.mark.parametrize(("named", "first"), [(50, 0), (20, 0), (20, 3)])
def test_users_of_a_request_are_distinct_and_all_are_named_alike(named: int, first: int) -> None:
    with serving() as server:
        Load(order(server, 10, named, first=first)).run()
    requests = [json.loads(body)["user_id"] for body in server.bodies]
    assert {(len(users), len(set(users))) for users in requests} == {(named, named)}
    assert set(Counter(user for users in requests for user in users).values()) == {10 * named // 50}


def test_in_an_open_loop_a_wait_for_a_free_connection_counts() -> None:
    """A delay of the server must appear in all requests that were due meanwhile."""
    with serving() as server:
        server.held = threading.Event()
        timer = threading.Timer(0.3, server.held.set)
        timer.start()
        done = Load(order(server, 100, rate=1000.0)).run()
        timer.join()
    waited = [latency for latency in done.latencies_us if latency > 150_000]
    assert len(waited) >= 90  # a closed loop would have measured it four times: once a connection


def test_times_of_sending_are_returned_by_user() -> None:
    with serving() as server:
        done = Load(order(server, 10, rate=200.0, keep_times=True, stride=1)).run()
    instants = [done.sent[user] for user in range(10)]
    assert instants == sorted(instants)
    assert instants[-1] - instants[0] > 0.044  # nine steps of 5 ms, whatever the duration of the responses


def test_each_traced_request_has_a_valid_trace_of_its_own() -> None:
    with serving() as server:
        template = ping_template(traced=True)
        Load(LoadOrder(server.server_address[1], template, 20, 50, 4, first=7, traced=True)).run()
    assert sorted(json.loads(body)["message"] for body in server.bodies) == sorted(
        f"Order {number:07d} is on its way" for number in range(7, 27)
    )
    found = [parse(trace or "") for trace in server.traces]
    assert len({trace.trace_id for trace in found if trace is not None}) == 20
    assert not any(trace is None or trace.sampled for trace in found)
