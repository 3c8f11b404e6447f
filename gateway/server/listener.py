"""The listening socket, bound once by the supervisor and inherited by every worker."""

import socket
from typing import Final

from gateway.errors import RhoPushError

_BACKLOG: Final = 4096  # the kernel caps it at somaxconn


class CannotListen(RhoPushError):
    """The address is in use, or does not belong to this machine."""

    code = "cannot_listen"
    label = "cannot_listen"


def listen(host: str, port: int, setting: str = "") -> socket.socket:
    """Return a non-blocking listening socket, closed on exec unless it is passed on explicitly.

    SO_REUSEPORT is not set: with it a second gateway would bind the same port without an error.

    Args:
        host: name or address; port: 0 for any free one.
        setting: the setting of the port, for the error; "": it is an option of the command.

    Raises:
        CannotListen: with the reason, in one line.
    """
    shown = f"{host}:{port} ({setting})" if setting else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {shown}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot listen on {shown}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Return `http://HOST:PORT` in the form for a client on this machine."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
