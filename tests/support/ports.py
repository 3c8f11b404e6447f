"""Ports for servers that cannot bind port 0 and report the result."""

import socket


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago. Port 0 is better if the server can report its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
