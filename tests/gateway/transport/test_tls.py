import os
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.errors import CredentialError
from gateway.transport import tls
from gateway.transport.tls import client_context, server_context, try_certificate
from protocols.certificate import Certificate

AUTHORITY = trustme.CA()
ISSUED = AUTHORITY.issue_cert("com.example.app")
SERVER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost").configure_cert(SERVER)
AUTHORITY.configure_trust(SERVER)
SERVER.verify_mode = ssl.CERT_REQUIRED
PEM = ISSUED.cert_chain_pems[0].bytes() + ISSUED.private_key_pem.bytes()


def certificate(data: bytes = PEM) -> Certificate:
    return Certificate.load(data)


def test_a_context_verifies_and_speaks_no_old_tls() -> None:
    context = client_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    "altered",
    [
        lambda pem: pem,
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: pem.replace(b"\n", b"\r"),
        lambda pem: pem.replace(b"\n", b"\n   "),
        lambda pem: b"subject=CN = root\n" + pem + b"and more",
    ],
    ids=["as it is", "BOM", "CR", "indented", "text around"],
)
def test_a_ca_file_replaces_the_systems_roots(tmp_path: Path, altered: Any) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(altered(trustme.CA().cert_pem.bytes()))
    assert client_context(ca_file=file).cert_store_stats()["x509"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file or directory"), (b"", "not usable as PEM"), (b"hello", "not usable as PEM")],
)
def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialError, match=f"some.pem: {words}") as caught:
        client_context(ca_file=file)
    assert caught.value.field == "ca_file"


def shown(context: ssl.SSLContext) -> bytes | None:
    """The certificate that a client presents to a server, in DER."""
    AUTHORITY.configure_trust(context)
    ours, theirs = socket.socketpair()
    found: list[bytes | None] = []

    def serve() -> None:
        with SERVER.wrap_socket(theirs, server_side=True) as link:
            found.append(link.getpeercert(binary_form=True))
            link.sendall(b".")

    thread = threading.Thread(target=serve)
    thread.start()
    with context.wrap_socket(ours, server_hostname="localhost") as link:
        assert link.recv(1) == b"."
    thread.join()
    return found[0]


def without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refused)


@pytest.mark.parametrize("memory_files", [True, False], ids=["memory", "pipes"])
def test_a_certificate_is_shown_without_any_temporary_file(
    memory_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_folder(*args: object, **kwargs: object) -> str:
        raise FileNotFoundError("No usable temporary directory found")

    for name in ("gettempdir", "mkstemp", "NamedTemporaryFile", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, no_folder)
    if not memory_files:
        without_memory_files(monkeypatch)
    before = len(list(Path("/proc/self/fd").iterdir()))
    der = shown(client_context(certificate=certificate()))
    assert der == ssl.PEM_cert_to_DER_cert(certificate().certificate_pem.decode())
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert server_context(certificate())


def test_a_chain_that_exceeds_a_pipe_is_an_error_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_memory_files(monkeypatch)
    monkeypatch.setattr(tls, "_PIPE_BYTES", 100)
    with pytest.raises(CredentialError):
        client_context(certificate=certificate())


def test_refusals_of_openssl_are_errors_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    one = certificate()
    one.key_pem = trustme.CA().issue_cert("x").private_key_pem.bytes()  # another key
    for use in (try_certificate, server_context, lambda it: client_context(certificate=it)):
        with pytest.raises(CredentialError, match="OpenSSL refuses"):
            use(one)
