"""What goes wrong with a connection, in words for an operator."""

import socket
import ssl
from collections.abc import Callable
from typing import Final


def _strerror(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text.lower() if text else "no address of the host can be connected to"


def _untrusted(error: BaseException) -> str:
    return f"certificate not trusted: {getattr(error, 'verify_message', '') or 'verification failed'}"


def _tls(error: BaseException) -> str:
    return f"TLS failed: {(getattr(error, 'reason', None) or 'unknown reason').replace('_', ' ').lower()}"


# The first row that fits speaks. Subclasses come before their bases: all of these are OSErrors.
_WORDS: Final[tuple[tuple[type[BaseException], Callable[[BaseException], str]], ...]] = (
    (socket.gaierror, lambda error: "host name not found"),
    (ssl.SSLCertVerificationError, _untrusted),
    (ssl.SSLError, _tls),
    (ConnectionRefusedError, lambda error: "connection refused"),
    (ConnectionAbortedError, lambda error: "connection aborted in the handshake"),
    (ConnectionResetError, lambda error: "connection reset by the peer"),
    (TimeoutError, lambda error: "timed out"),
    (OSError, _strerror),
    (UnicodeError, lambda error: "not the name of a host"),
)


def describe(error: BaseException) -> str:
    """A connection's trouble in a few words, fit for logs: no address, no certificate, no key."""
    return next((words(error) for kind, words in _WORDS if isinstance(error, kind)), type(error).__name__)
