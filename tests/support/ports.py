"""Ports for servers that cannot bind port 0 and report the result."""

import random
import socket
from typing import Final

_FIRST: Final = 10_240
_LAST: Final = 32_767
"""Below the ports that Linux (from 32768) and macOS (from 49152) assign to connections and to port 0."""
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
