"""TLS contexts for connections to providers."""

import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.errors import CredentialError
from protocols.certificate import Certificate
from protocols.credential_text import pem_blocks
from protocols.errors import InputError

_PIPE_BYTES: Final = 16_384
"""Bytes that the pipes of every system hold without a reader."""

_MISMATCH: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
"""OpenSSL's reasons (x509err.h)."""


def client_context(
    *, ca_file: str | Path | None = None, certificate: Certificate | None = None
) -> ssl.SSLContext:
    """A context for HTTP/2 to a provider: verified TLS 1.2 or newer, `h2` by ALPN (RFC 9113 §3.2, §9.2).

    Args:
        ca_file: PEM file of the trusted roots; None: the system's.
        certificate: client certificate and its key, for APNs with a certificate.

    Raises:
        CredentialError: the file cannot be read, or OpenSSL refuses certificate or key. The text contains the file
            name only.
    """
    context = _trusting(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        _show(context, certificate)
    return context


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """A context for a server with a certificate.

    Raises:
        CredentialError: OpenSSL refuses the certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _show(context, certificate)
    return context


def try_certificate(certificate: Certificate) -> None:
    """Check a certificate with OpenSSL, without loading the certificate authorities.

    Raises:
        CredentialError: OpenSSL refuses it.
    """
    _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)


def _trusting(ca_file: str | Path | None) -> ssl.SSLContext:
    try:
        if ca_file is None:
            return ssl.create_default_context()
        blocks = [block for block in pem_blocks(Path(ca_file).read_bytes()) if block.label == "CERTIFICATE"]
        if not blocks:
            raise CredentialError(f"{ca_file}: not usable as PEM (no certificate found)", field="ca_file")
        return ssl.create_default_context(cadata=b"".join(block.pem for block in blocks).decode("ascii"))
    except InputError as error:
        raise CredentialError(f"{ca_file}: {error.message}", field="ca_file") from error
    except (OSError, ValueError) as error:  # ValueError: not ASCII, or an impossible path
        raise CredentialError(f"{ca_file}: {_words(error)}", field="ca_file") from error


def _show(context: ssl.SSLContext, certificate: Certificate) -> None:
    try:
        _load(context, certificate)
    except (OSError, ValueError) as error:
        raise CredentialError(
            f"OpenSSL refuses the certificate or its key: {_words(error)}", field="certificate_file"
        ) from error


def _load(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Load a certificate. OpenSSL reads keys from files only: these are in memory, so that no folder must be
    writable and no key remains on disk."""
    try:
        with _in_memory(certificate.certificate_pem + certificate.key_pem) as path:
            context.load_cert_chain(path)
    except FileNotFoundError:  # neither in-memory files nor /proc are available
        with _in_pipe(certificate.certificate_pem) as chain, _in_pipe(certificate.key_pem) as key:
            context.load_cert_chain(chain, key)


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The path of a file that exists in memory only (Linux).

    Raises:
        FileNotFoundError: this system does not support or permit such files.
    """
    try:
        descriptor = os.memfd_create("rhopush-certificate")
    except (AttributeError, OSError) as error:
        raise FileNotFoundError("in-memory files are not supported") from error
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(content)
        yield f"/proc/self/fd/{descriptor}"


@contextlib.contextmanager
def _in_pipe(content: bytes) -> Iterator[str]:
    """The path of a pipe that holds a text, for one read."""
    if len(content) > _PIPE_BYTES:
        raise ValueError(f"longer than {_PIPE_BYTES} bytes")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0):
        with os.fdopen(writing, "wb", buffering=0) as file:
            file.write(content)
        yield f"/dev/fd/{reading}"


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "certificate and key do not match" if error.reason in _MISMATCH else "not usable as PEM"
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno).lower() if error.errno else error.strerror.lower()
    return "cannot be read"
