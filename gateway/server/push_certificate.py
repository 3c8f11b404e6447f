"""The certificate that the RhoConnect Push service shows to devices: `serve` and `rhopush check` read it here."""

import ssl
from typing import Final

from gateway.delivery.credentials import read_file
from gateway.errors import BadSetting, CredentialError
from gateway.settings import RpsSettings
from gateway.transport.tls import server_context
from protocols.apns.credentials import Certificate
from protocols.errors import InputError

_CERTIFICATE: Final = "rps.certificate_file"
_KEY: Final = "rps.key_file"


def read_push_certificate(rps: RpsSettings) -> Certificate | None:
    """The certificate and its key, as the settings name them; None: the service does not use TLS.

    Raises:
        BadSetting: a file cannot be read, or the two cannot be used together. The message never shows what a file
            holds, nor a setting that cannot be a path.
    """
    if rps.certificate_file is None:
        return None
    try:
        content = [read_file(rps.certificate_file, _CERTIFICATE)]
        if rps.key_file is not None:
            content.append(read_file(rps.key_file, _KEY))
    except CredentialError as error:
        raise BadSetting(error.message, field=error.field) from error
    try:
        certificate = Certificate.load(b"\n".join(content))
        server_context(certificate)
    except (InputError, CredentialError) as error:
        files = f"{rps.certificate_file}" + (f" with {_KEY} {rps.key_file}" if rps.key_file else "")
        raise BadSetting(f"{_CERTIFICATE}: {files}: {error.message}", field=_CERTIFICATE) from error
    return certificate


def push_context(rps: RpsSettings) -> ssl.SSLContext | None:
    """TLS for the service's socket; None: it is plain. Raises as `read_push_certificate`."""
    certificate = read_push_certificate(rps)
    return None if certificate is None else server_context(certificate)
