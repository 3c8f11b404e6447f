"""Credentials of lanes: read from files or text, converted to headers, renewed before they expire.

The keys and accounts themselves are in `protocols.<provider>.credentials`; this module has the parts that need a
clock, a file or a network.
"""

import asyncio
import contextlib
import importlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, NamedTuple

import aiohttp
import structlog

from gateway.clock import ProviderClock
from gateway.errors import CredentialError
from gateway.logs.redaction import scrub
from gateway.settings import ApnsSettings, FcmSettings, Secret
from gateway.settings.paths import not_a_path
from gateway.transport.tls import client_context, try_certificate
from protocols.apns.credentials import Certificate, ProviderKey
from protocols.credential_text import TEXT_BYTES
from protocols.errors import CredentialRefused, InputError, NoAccessToken
from protocols.fcm.credentials import (
    METADATA,
    SERVICE_ACCOUNT,
    AccessToken,
    GoogleCredential,
    ServiceAccount,
    parse_token_response,
)
from protocols.http2.client import Header
from protocols.provider_response import date_s

_log = structlog.get_logger("credentials")

_RENEW_BEFORE_S: Final = 300.0
"""Time before its expiry at which an access token is renewed (providers B1: a few minutes early)."""
_REFUSALS_S: Final = 1.0
"""Refusals of requests with the same token arrive within this time: only the first makes a new token."""
_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_FETCH_S: Final = 15.0
_ANSWER_MAX: Final = 65_536
"""Most bytes of a token response, which normally has about 1,200."""
_ERROR_MAX: Final = 200
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
        if time.monotonic() - self._refreshed_s < _REFUSALS_S:
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


class FcmAccount:
    """A Google credential: one access token for each process, fetched in the background and renewed early
    (providers B1).

    A service account's own key signs here. google-auth gets the tokens of every other kind, in a separate thread.

    Args:
        account: the credential.
        tls: context that trusts the token endpoint.
        on_token: called with each new token.
    """

    def __init__(
        self, account: ServiceAccount | GoogleCredential, tls: SSLContext, on_token: Callable[[], None]
    ) -> None:
        self._account = account
        self._google: Any = None
        if not isinstance(account, ServiceAccount):
            self._google = google().GoogleTokens(account, tls)
        self._tls = tls
        self._on_token = on_token
        self._clock = ProviderClock("fcm")
        self._headers: tuple[Header, ...] | None = None
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fetched_at = 0.0
        self.error: str | None = None

    def authorization(self) -> Sequence[Header] | None:
        """The access token; None while there is none."""
        if self._task is None:
            self._task = asyncio.create_task(self._refresh_loop(), name="fcm:token")
        return self._headers

    def refresh(self, date_s: float | None = None) -> bool:
        """Fetch another token after a refusal, unless the present token is newer than the refused one."""
        if time.monotonic() - self._fetched_at > _REFUSALS_S:
            self._headers = None
            self._wanted.set()
        return True

    def corrected(self) -> bool:
        """False: tokens are fetched and do not depend on the clock."""
        return False

    async def close(self) -> None:
        """Stop renewing."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _refresh_loop(self) -> None:
        failures = 0
        while True:
            # Any error is caught: without this task the lane could never send again.
            (found,) = await asyncio.gather(self._fetch(), return_exceptions=True)
            if not isinstance(found, AccessToken):
                self.error = scrub(str(found) or type(found).__name__)[:_ERROR_MAX]
                _log.warning("access_token_fetch_failed", error=self.error)
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                continue
            failures = 0
            self.error = None
            self._fetched_at = time.monotonic()
            self._headers = ((b"authorization", b"Bearer " + found.value.encode()),)
            self._wanted.clear()
            self._on_token()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), max(found.expires_s - _RENEW_BEFORE_S, 30.0))

    async def _fetch(self) -> AccessToken:
        if isinstance(self._account, ServiceAccount):
            return await self._exchange(self._account)
        found: AccessToken = await self._google.fetch(_FETCH_S)
        return found

    async def _exchange(self, account: ServiceAccount) -> AccessToken:
        url, form = account.token_request(self._clock.now_s())
        timeout = aiohttp.ClientTimeout(total=_FETCH_S)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # The form is signed for this server, so a redirect to another server is not followed.
            session.post(url, data=form, headers=headers, ssl=self._tls, allow_redirects=False) as answer,
        ):
            body = b""
            async for part in answer.content.iter_any():
                body += part
                if len(body) > _ANSWER_MAX:
                    raise NoAccessToken("the token server's answer is too long")
            try:
                return parse_token_response(answer.status, body)
            except CredentialRefused:
                self._clock.refused(date_s(answer.headers.get("Date", "")))
                raise


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
    certificate: Certificate | None
    ca_file: Path | None

    def context(self) -> SSLContext:
        """TLS context for connections.

        Raises:
            CredentialError: `ca_file` cannot be used.
        """
        return client_context(ca_file=self.ca_file, certificate=self.certificate)


class FcmAccess(NamedTuple):
    """Everything that a connection to FCM needs.

    Attributes:
        project: the Firebase project.
        account: gets access tokens.
        credential: description of the credential in the settings.
        ca_file: PEM file of the trusted authorities; None: the system's.
    """

    project: str
    account: ServiceAccount | GoogleCredential
    credential: GoogleCredential
    ca_file: Path | None

    def context(self) -> SSLContext:
        """TLS context for the API.

        Raises:
            CredentialError: `ca_file` cannot be used.
        """
        return client_context(ca_file=self.ca_file)

    def token_context(self) -> SSLContext:
        """TLS context for the token endpoint, which uses HTTP/1.1; it trusts the same authorities.

        Raises:
            CredentialError: `ca_file` cannot be used.
        """
        context = self.context()
        context.set_alpn_protocols(["http/1.1"])
        return context


def read_apns(settings: ApnsSettings) -> ApnsAccess:
    """Read and validate the credential in the settings. `check`, startup and every lane use this function.

    Raises:
        CredentialError: a file cannot be read, or its content cannot be used.
    """
    _try_authorities(settings.ca_file)
    if settings.certificate_file is None:
        return _read_key(settings)
    certificate = read_certificate(settings)
    topic = settings.topic or next(iter(certificate.topics), "")
    field = "apns.certificate_file"
    if not topic:
        raise CredentialError(f"{settings.certificate_file} names no topic: set apns.topic", field=field)
    try:
        try_certificate(certificate)
    except CredentialError as error:
        raise CredentialError(f"{settings.certificate_file}: {error.message}", field=field) from error
    return ApnsAccess(topic, None, certificate, settings.ca_file)


def read_fcm(settings: FcmSettings) -> FcmAccess:
    """Read and validate the credential in the settings. `check`, startup and every lane use this function.

    Raises:
        CredentialError: a file cannot be read, or its content cannot be used.
    """
    _try_authorities(settings.ca_file)
    credential = read_google(settings)
    account: ServiceAccount | GoogleCredential = credential
    try:
        if credential.kind == SERVICE_ACCOUNT:
            account = ServiceAccount(credential.info)
        else:
            google().check(credential)
    except InputError as error:
        raise CredentialError(f"fcm.credentials: {error.message}", field="fcm.credentials") from error
    project = settings.project_id or credential.project_id
    if not project:
        raise CredentialError(
            "fcm.project_id: neither it nor the credential names a project", field="fcm.project_id"
        )
    return FcmAccess(project, account, credential, settings.ca_file)


def _read_key(settings: ApnsSettings) -> ApnsAccess:
    """Read a key and its topic; an error names the faults of both."""
    try:
        key = read_apns_key(settings)
    except CredentialError as error:
        if settings.topic is None:
            raise CredentialError(f"{_NO_TOPIC}; {error.message}", field="apns.topic") from error
        raise
    return ApnsAccess(topic_of_key(settings), key, None, settings.ca_file)


def _try_authorities(ca_file: Path | None) -> None:
    if ca_file is not None:
        client_context(ca_file=ca_file)


def token_uris(credential: GoogleCredential) -> Sequence[str]:
    """URIs from which a credential's access tokens come."""
    if credential.kind == METADATA:
        return [f"http://{os.environ.get('GCE_METADATA_HOST') or 'metadata.google.internal'}"]
    return credential.token_uris


def google() -> Any:
    """Import the module that uses google-auth, only for credentials that need it, since it loads an HTTP client."""
    return importlib.import_module("gateway.delivery.google_tokens")


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
    pem = _text(settings.key, settings.key_file, "apns.key_file")
    try:
        return ProviderKey(pem, settings.key_id or "", settings.team_id or "")
    except InputError as error:
        raise CredentialError(f"apns.key: {error.message}", field="apns.key") from error


def read_certificate(settings: ApnsSettings) -> Certificate:
    """Read the certificate in the settings.

    Raises:
        CredentialError: it cannot be read, is not a certificate, or its passphrase is wrong.
    """
    path, passphrase = settings.certificate_file, settings.certificate_passphrase
    data = _text(None, path, "apns.certificate_file")
    try:
        return Certificate.load(data, passphrase.reveal() if passphrase else None)
    except InputError as error:
        raise CredentialError(f"{path}: {error.message}", field="apns.certificate_file") from error


def read_google(settings: FcmSettings) -> GoogleCredential:
    """Read Google's credential in the settings.

    Raises:
        CredentialError: it cannot be read, or is not a credential.
    """
    text = _text(settings.credentials, settings.credentials_file, "fcm.credentials_file")
    try:
        return GoogleCredential.read(text)
    except InputError as error:
        raise CredentialError(f"fcm.credentials: {error.message}", field="fcm.credentials") from error


def _text(secret: Secret | None, path: Path | None, field: str) -> bytes:
    if secret is not None:
        return secret.reveal().encode("utf-8", "replace")
    return read_file(path, field)


def read_file(path: Path | None, field: str) -> bytes:
    """Read a file with a credential. Content beyond the longest credential is dropped, so that parsing fails.

    Args:
        path: path of the file; None: an invalid path, which is an error.
        field: name of the setting.

    Raises:
        CredentialError: the file cannot be read, or the setting is not a path; then its value is not shown.
    """
    wrong = not_a_path(field, str(path or ""))
    if wrong is not None:
        raise CredentialError(f"{field}: {wrong}", field=field)
    try:
        with Path(path or "").open("rb") as file:
            return file.read(TEXT_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise CredentialError(f"{field}: {path}: {why or 'cannot be read'}", field=field) from error
