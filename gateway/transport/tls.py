"""TLS contexts for connections to providers."""

import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

from gateway.errors import CredentialError
from protocols.apns.credentials import Certificate
from protocols.errors import InputError

_DER_SEQUENCE: Final = b"\x30"
"""What a PKCS#12 file begins with (RFC 7292 §4, ITU-T X.690 §8.9)."""

_MISMATCH: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")
"""OpenSSL's reasons (x509err.h)."""


def client_context(
    *,
    ca_file: str | Path | None = None,
    certificate_file: str | Path | None = None,
    passphrase: str | None = None,
) -> ssl.SSLContext:
    """A context for HTTP/2 to a provider: verified TLS 1.2 or newer, `h2` by ALPN (RFC 9113 §3.2, §9.2).

    Args:
        ca_file: PEM file of the trusted roots; None trusts the system's.
        certificate_file: PEM or PKCS#12 file of our own certificate and its key, for APNs by certificate.
        passphrase: of that key, if it is encrypted.

    Raises:
        CredentialError: a file cannot be read, is neither, or the passphrase does not fit. Names the file
            only.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CredentialError(f"{ca_file}: {_words(error)}", field="ca_file") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if certificate_file is not None:
        try:
            _load(context, Path(certificate_file), passphrase)
        except InputError as error:
            raise CredentialError(f"{certificate_file}: {error.message}", field="certificate_file") from error
        except (OSError, ssl.SSLError, ValueError) as error:
            raise CredentialError(f"{certificate_file}: {_words(error)}", field="certificate_file") from error
    return context


def _load(context: ssl.SSLContext, file: Path, passphrase: str | None) -> None:
    """OpenSSL takes files of PEM alone: a PKCS#12 file's content passes through one that only we may read."""
    data = file.read_bytes()
    if not data.startswith(_DER_SEQUENCE):
        # A callable, so that OpenSSL never asks on the terminal.
        context.load_cert_chain(file, password=lambda: passphrase or "")
        return
    certificate = Certificate.load(data, passphrase)
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(certificate.key_pem + certificate.certificate_pem)
        pem.flush()
        context.load_cert_chain(pem.name)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "certificate and key do not match" if error.reason in _MISMATCH else "not usable as PEM"
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(error.errno).lower() if error.errno else error.strerror.lower()
    return "the passphrase cannot be used"
