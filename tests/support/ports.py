"""Ports for servers that cannot bind port 0 and report the result."""

import contextlib
import random
import socket
from collections.abc import Iterator
from typing import Final

_FIRST: Final = 10_240
_LAST: Final = 32_767
"""Below the ports that Linux (from 32768) and macOS (from 49152) assign to connections and to port 0."""
_QUEUED: Final = 4
"""More connections than fit into the shortest queue of a listening socket."""
_dice: Final = random.SystemRandom()  # the worker processes of a test run may have the same seed
_given: set[int] = set()


def free_port() -> int:
    """A free port of 127.0.0.1, which this function returns once in a process.

    The port is usually still free when a server binds it, also again after a restart, because the operating system
    assigns ports of this range to nobody. Port 0 is better if the server can report its port.
    """
    while True:
        port = _dice.randint(_FIRST, _LAST)
        if port not in _given and _binds(port):
            _given.add(port)
            return port


def _binds(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def unanswering_port() -> Iterator[int]:
    """A port of 127.0.0.1 at which every further attempt to connect gets no answer, as behind a firewall that drops
    packets: the queue of the listening socket is full, and nobody accepts from it."""
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(_QUEUED):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]
