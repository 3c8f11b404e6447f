"""Google's credentials: read from a file or text, and exchanged for access tokens that are renewed early.

The accounts themselves are in `protocols.fcm.credentials`; this module has the parts that need a clock, a file or a
network.
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
from gateway.delivery.credential_files import invalid, text_of_setting, try_authorities
from gateway.delivery.provider import REFUSALS_S
from gateway.errors import CredentialError
from gateway.logs.redaction import scrub
from gateway.scheduling.background import run_in_background
from gateway.scheduling.outcome import outcome_of
from gateway.settings import FcmSettings
from gateway.transport.tls import client_context
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
_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_FETCH_S: Final = 15.0
_ANSWER_MAX: Final = 65_536
"""Most bytes of a token response, which normally has about 1,200."""
_ERROR_MAX: Final = 200


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
            self._task = run_in_background(self._refresh_loop, "fcm:token")
        return self._headers

    def refresh(self, date_s: float | None = None) -> bool:
        """Fetch another token after a refusal, unless the present token is newer than the refused one."""
        if time.monotonic() - self._fetched_at > REFUSALS_S:
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
            found = await outcome_of(self._fetch())
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
                async with asyncio.timeout(max(found.expires_s - _RENEW_BEFORE_S, 30.0)):
                    await self._wanted.wait()

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


def read_fcm(settings: FcmSettings) -> FcmAccess:
    """Read and validate the credential in the settings. `check`, startup and every lane use this function.

    Raises:
        CredentialError: a file cannot be read, or its content cannot be used.
    """
    try_authorities(settings.ca_file)
    credential = read_google(settings)
    account: ServiceAccount | GoogleCredential = credential
    try:
        if credential.kind == SERVICE_ACCOUNT:
            account = ServiceAccount(credential.info)
        else:
            google().check(credential)
    except InputError as error:
        raise invalid(
            settings.credentials, settings.credentials_file, "fcm.credentials_file", error
        ) from error
    project = settings.project_id or credential.project_id
    if not project:
        raise CredentialError(
            "fcm.project_id: neither it nor the credential names a project", field="fcm.project_id"
        )
    return FcmAccess(project, account, credential, settings.ca_file)


def token_uris(credential: GoogleCredential) -> Sequence[str]:
    """URIs from which a credential's access tokens come."""
    if credential.kind == METADATA:
        return [f"http://{os.environ.get('GCE_METADATA_HOST') or 'metadata.google.internal'}"]
    return credential.token_uris


def google() -> Any:
    """Import the module that uses google-auth, only for credentials that need it, since it loads an HTTP client."""
    return importlib.import_module("gateway.delivery.providers.google_tokens")


def read_google(settings: FcmSettings) -> GoogleCredential:
    """Read Google's credential in the settings.

    Raises:
        CredentialError: it cannot be read, or is not a credential.
    """
    text = text_of_setting(settings.credentials, settings.credentials_file, "fcm.credentials_file")
    try:
        return GoogleCredential.read(text)
    except InputError as error:
        raise invalid(
            settings.credentials, settings.credentials_file, "fcm.credentials_file", error
        ) from error
