"""TLS contexts for connections to providers."""

import ssl
from pathlib import Path

from gateway.errors import CredentialError


def client_context(
    *,
    ca_file: str | Path | None = None,
    certificate_file: str | Path | None = None,
    passphrase: str | None = None,
) -> ssl.SSLContext:
    """A context for HTTP/2 to a provider: verified TLS 1.2 or newer, `h2` by ALPN (RFC 9113 §3.2, §9.2).

    Args:
        ca_file: PEM file of the trusted roots; None trusts the system's.
        certificate_file: PEM file of our own certificate and its key, for APNs by certificate.
        passphrase: of that key, if it is encrypted.

    Raises:
        CredentialError: a file cannot be read, is no PEM, or the passphrase does not fit. Names the file
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
            # A callable, so that OpenSSL never asks on the terminal.
            context.load_cert_chain(certificate_file, password=lambda: passphrase or "")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise CredentialError(f"{certificate_file}: {_words(error)}", field="certificate_file") from error
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not usable as PEM ({error.reason or 'no certificate found'})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the passphrase cannot be used"
