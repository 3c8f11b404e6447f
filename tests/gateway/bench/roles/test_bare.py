"""The bare protocol, over a socket."""

import socket
from pathlib import Path

from gateway.bench.child import Child
from gateway.bench.roles.load import LoadOrder, LoadResult
from gateway.bench.wire import ping_template


def test_any_read_is_answered(tmp_path: Path) -> None:
    with (
        Child("bare", tmp_path) as bare,
        socket.create_connection(("127.0.0.1", bare.receive(int)), 10) as line,
    ):
        for said in ((ping_template() % (1, 2)).encode(), b"nonsense"):
            line.sendall(said)
            assert line.recv(4096) == b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_the_generator_accepts_its_answers(tmp_path: Path) -> None:
    with Child("bare", tmp_path) as bare, Child("load", tmp_path) as load:
        done = load.request(LoadOrder(bare.receive(int), ping_template(), 500, 50, 4), LoadResult)
    assert done.statuses == {"200": 500}
