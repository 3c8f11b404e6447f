"""Apple's credentials: read from a file or text, and converted to headers.

The keys and certificates themselves are in `protocols.apns.credentials`; this module has the parts that need a clock or
a file.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Final, NamedTuple

from gateway.clock import ProviderClock
from gateway.delivery.credential_files import invalid, text_of_setting, try_authorities
from gateway.delivery.provider import REFUSALS_S
from gateway.errors import CredentialError
from gateway.settings import ApnsSettings
from gateway.transport.tls import client_context, try_certificate
from protocols.apns.credentials import ProviderKey, PushCertificate
from protocols.errors import InputError
from protocols.http2.client import Header

_NO_TOPIC: Final = "apns.topic: a p8 key serves many apps: set the bundle id of this app"


class CertificateCredential:
    """A TLS client certificate as credential: requests need no authorization header (providers A6)."""

    def authorization(self) -> Sequence[Header]:
        """No headers."""
        return ()

    def refresh(self, date_s: float | None = None) -> bool:
        """False: a certificate cannot be refreshed; a new one comes with the settings."""
        return False

    def corrected(self) -> bool:
        """False: a certificate does not depend on the clock."""
        return False

    async def close(self) -> None:
        """Nothing to close."""


class ApnsKey:
    """A p8 key: one token for all connections, workers and gateways, by 50-minute buckets (providers A5)."""

    def __init__(self, key: ProviderKey, clock: ProviderClock | None = None) -> None:
        self._key = key
        self._clock = ProviderClock("apns") if clock is None else clock
        self._token = ""
        self._refreshed_s = float("-inf")
        self._headers: tuple[Header, ...] = ()

    def authorization(self) -> Sequence[Header]:
        """The bearer token of the present bucket."""
        token = self._key.token(self._clock.now_s())
        if token is not self._token:
            self._token = token
            self._headers = ((b"authorization", b"bearer " + token.encode()),)
        return self._headers

    def refresh(self, date_s: float | None = None) -> bool:
        """Make a token by the provider's clock, or for an earlier bucket. Simultaneous refusals count as one."""
        if time.monotonic() - self._refreshed_s < REFUSALS_S:
            return True
        refused = self._token
        if self._key.token(self._clock.now_s()) == refused and not self._clock.refused(date_s):
            self._key.hasten(self._clock.now_s())
        if self._key.token(self._clock.now_s()) == refused:
            return False
        self._refreshed_s = time.monotonic()
        return True

    def corrected(self) -> bool:
        """Whether the clock was corrected since the last refusal, so that there is another token."""
        return self._clock.corrected() and self._key.token(self._clock.now_s()) != self._token

    async def close(self) -> None:
        """Nothing to close."""


class ApnsAccess(NamedTuple):
    """Everything that a connection to Apple needs.

    Attributes:
        topic: topic of the notifications.
        key: signs provider tokens; None: the certificate authorizes.
        certificate: client certificate of the connection; None: none.
        ca_file: PEM file of the trusted authorities; None: the system's.
    """

    topic: str
    key: ProviderKey | None
    certificate: PushCertificate | None
    ca_file: Path | None

    def context(self) -> SSLContext:
        """TLS context for connections.

        Raises:
            CredentialError: `ca_file` cannot be used.
        """
        return client_context(ca_file=self.ca_file, certificate=self.certificate)


def read_apns(settings: ApnsSettings) -> ApnsAccess:
    """Read and validate the credential in the settings. `check`, startup and every lane use this function.

    Raises:
        CredentialError: a file cannot be read, or its content cannot be used.
    """
    try_authorities(settings.ca_file)
    if settings.certificate_file is None:
        return _read_key(settings)
    certificate = read_certificate(settings)
    topic = settings.topic or next(iter(certificate.topics), "")
    field = "apns.certificate_file"
    if not topic:
        raise CredentialError(
            f"{field}: {settings.certificate_file} names no topic: set apns.topic", field=field
        )
    try:
        try_certificate(certificate)
    except CredentialError as error:
        raise CredentialError(
            f"{field}: {settings.certificate_file}: {error.message}", field=field
        ) from error
    return ApnsAccess(topic, None, certificate, settings.ca_file)


def _read_key(settings: ApnsSettings) -> ApnsAccess:
    """Read a key and its topic; an error names the faults of both."""
    try:
        key = read_apns_key(settings)
    except CredentialError as error:
        if settings.topic is None:
            raise CredentialError(f"{_NO_TOPIC}; {error.message}", field="apns.topic") from error
        raise
    return ApnsAccess(topic_of_key(settings), key, None, settings.ca_file)


def topic_of_key(settings: ApnsSettings) -> str:
    """The topic of notifications with a p8 key.

    Raises:
        CredentialError: no topic is set, and a key has none, unlike a certificate.
    """
    if settings.topic is None:
        raise CredentialError(_NO_TOPIC, field="apns.topic")
    return settings.topic


def read_apns_key(settings: ApnsSettings) -> ProviderKey:
    """Read the p8 key in the settings.

    Raises:
        CredentialError: it cannot be read, or is not a key.
    """
    pem = text_of_setting(settings.key, settings.key_file, "apns.key_file")
    try:
        return ProviderKey(pem, settings.key_id or "", settings.team_id or "")
    except InputError as error:
        raise invalid(settings.key, settings.key_file, "apns.key_file", error) from error


def read_certificate(settings: ApnsSettings) -> PushCertificate:
    """Read the certificate in the settings.

    Raises:
        CredentialError: it cannot be read, is not a certificate, or its passphrase is wrong.
    """
    path, passphrase = settings.certificate_file, settings.certificate_passphrase
    data = text_of_setting(None, path, "apns.certificate_file")
    try:
        return PushCertificate.load(data, passphrase.reveal() if passphrase else None)
    except InputError as error:
        raise invalid(None, path, "apns.certificate_file", error) from error
