"""The TLS certificate of the RhoConnect Push service, as read by `serve` and `rhopush check`."""

import ssl
from typing import Final

from gateway.delivery.credential_files import read_file
from gateway.errors import BadSetting, CredentialError
from gateway.settings import RhoConnectPushSettings
from gateway.transport.tls import server_context
from protocols.certificate import Certificate
from protocols.errors import InputError

_CERTIFICATE: Final = "rhoconnect_push.certificate_file"
_KEY: Final = "rhoconnect_push.key_file"


def read_push_certificate(rhoconnect_push: RhoConnectPushSettings) -> Certificate | None:
    """Return the certificate and its key, as the settings name them; None: the service does not use TLS.

    Raises:
        BadSetting: a file cannot be read, or the two do not match. The message never contains the content of a file,
            nor a setting that cannot be a path.
    """
    if rhoconnect_push.certificate_file is None:
        return None
    try:
        content = [read_file(rhoconnect_push.certificate_file, _CERTIFICATE)]
        if rhoconnect_push.key_file is not None:
            content.append(read_file(rhoconnect_push.key_file, _KEY))
    except CredentialError as error:
        raise BadSetting(error.message, field=error.field) from error
    try:
        certificate = Certificate.load(b"\n".join(content))
        server_context(certificate)
    except (InputError, CredentialError) as error:
        files = f"{rhoconnect_push.certificate_file}" + (
            f" with {_KEY} {rhoconnect_push.key_file}" if rhoconnect_push.key_file else ""
        )
        raise BadSetting(f"{_CERTIFICATE}: {files}: {error.message}", field=_CERTIFICATE) from error
    return certificate


def push_context(rhoconnect_push: RhoConnectPushSettings) -> ssl.SSLContext | None:
    """Return the TLS context of the service's socket; None: the socket is plain. Raises as `read_push_certificate`."""
    certificate = read_push_certificate(rhoconnect_push)
    return None if certificate is None else server_context(certificate)
