"""Descriptions of connection errors, as texts for operators and callers.

The texts are this project's own and the operating system's. Those of asyncio, ssl, OpenSSL, aiohttp and redis-py
differ between versions and may show addresses.
"""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Final

_CERTIFICATES: Final = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in the chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    23: "it was revoked",
    62: "it is for another host name",
    64: "it is for another IP address",
}
"""OpenSSL's codes of verification (x509_vfy.h, X509_V_ERR_...)."""
_TLS: Final = {
    "WRONG_VERSION_NUMBER": "wrong version number",
    "RECORD_LAYER_FAILURE": "record layer failure",
    "HTTP_REQUEST": "the server speaks HTTP without TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the server closed the connection",
    "UNSUPPORTED_PROTOCOL": "no common version of TLS",
    "NO_PROTOCOLS_AVAILABLE": "no common version of TLS",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no common version of TLS",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the handshake",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "tlsv1 alert no application protocol",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server refused the client certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the server reports that the client certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the server refused the client certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust the issuer of the certificate",
}
"""OpenSSL's reasons (sslerr.h, SSL_R_...)."""
_HTTP: Final = {
    "ServerDisconnectedError": "the server closed the connection without an answer",
    "ClientResponseError": "the answer is not valid HTTP",
    "ClientPayloadError": "the answer is incomplete",
    "BadStatusLine": "the answer is not valid HTTP",
    "IncompleteRead": "the answer is incomplete",
}
"""Errors of aiohttp and http.client without a cause, by the names of their classes: this module imports neither."""


def _os_words(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else "no address of the host accepts a connection"


def _untrusted(error: BaseException) -> str:
    held = getattr(error, "certificate_error", error)  # aiohttp's error has no code of its own
    why = _CERTIFICATES.get(getattr(held, "verify_code", 0), "verification failed")
    return f"certificate not trusted: {why}"


def _tls(error: BaseException) -> str:
    return f"TLS failed: {_TLS.get(getattr(error, 'reason', None) or '', 'the handshake was not completed')}"


# The first matching row applies. Subclasses come before their bases: all of these are OSErrors.
_WORDS: Final[tuple[tuple[type[BaseException], Callable[[BaseException], str]], ...]] = (
    (socket.gaierror, lambda error: "host name not found"),
    (ssl.SSLCertVerificationError, _untrusted),
    (ssl.SSLError, _tls),
    (ConnectionRefusedError, lambda error: "connection refused"),
    (ConnectionAbortedError, lambda error: "connection aborted in the handshake"),
    (ConnectionResetError, lambda error: "connection reset by the peer"),
    (TimeoutError, lambda error: "timed out"),
    (UnicodeError, lambda error: "not a valid host name"),
)


def describe(error: BaseException) -> str:
    """Describe a connection error in a few words, fit for logs: no address, no certificate, no key.

    An error of a library is described by its cause.
    """
    for one in _chain(error):
        for kind, words in _WORDS:
            if isinstance(one, kind):
                return words(one)
    for kind in type(error).__mro__:
        if kind.__name__ in _HTTP:
            return _HTTP[kind.__name__]
    bare = next((one for one in _chain(error) if isinstance(one, OSError)), None)
    return type(error).__name__ if bare is None else _os_words(bare)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, innermost last; errors of aiohttp hold their cause in an attribute."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        held = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        error = held if isinstance(held, BaseException) else error.__cause__ or error.__context__
