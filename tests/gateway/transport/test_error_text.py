import socket
import ssl

import pytest

from gateway.transport.error_text import describe


def tls_error() -> ssl.SSLError:
    """A real error: a client that receives bytes that are not TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="x")
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    return caught.value


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "host name not found"),
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 443)"), "connection refused"),
        (ConnectionResetError(104, "x"), "connection reset by the peer"),
        (ConnectionAbortedError("SSL handshake is taking too long"), "connection aborted in the handshake"),
        (TimeoutError(), "timed out"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (OSError("Multiple exceptions: 10.0.0.1"), "no address of the host accepts a connection"),
        (ssl.SSLCertVerificationError("odd"), "certificate not trusted: verification failed"),
        (UnicodeError("label empty or too long"), "not a valid host name"),
        (ValueError("secret"), "ValueError"),
    ],
)
def test_each_error_has_its_text(error: BaseException, words: str) -> None:
    assert describe(error) == words


def test_a_tls_error_is_described_by_its_reason() -> None:
    assert describe(tls_error()) in {"TLS failed: wrong version number", "TLS failed: record layer failure"}


def test_no_text_of_a_library_is_shown() -> None:
    """Those texts may contain addresses, and differ between versions."""
    assert describe(OSError(113, "Connect call failed ('10.0.0.1', 443)")) == "no route to host"
    odd = ssl.SSLError(1, "[SSL: ODD_THING] odd thing (_ssl.c:1)")
    assert describe(odd) == "TLS failed: the handshake was not completed"


def test_an_error_of_a_library_is_described_by_its_cause() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 6379)")
        except OSError as error:
            raise RuntimeError("Error 111 connecting to 10.0.0.1:6379") from error
    assert describe(caught.value) == "connection refused"
