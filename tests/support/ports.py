"""Ports for servers that cannot be asked to bind port 0 and say what they got."""

import socket


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago. Prefer port 0 where the server can tell its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
