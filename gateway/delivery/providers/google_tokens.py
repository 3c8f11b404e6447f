"""Access tokens from google-auth, for every credential that does not sign with its own key: external accounts,
impersonation, users, the metadata server.

google-auth blocks, and may sleep between attempts or start a program. Therefore it runs in a separate thread, at
most one for each credential. Its HTTP requests run on the event loop, where the gateway's deadline ends them: a
token server that does not answer, or whose answer does not end, blocks neither the loop nor the thread.
"""

import asyncio
import concurrent.futures
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final, NamedTuple

import aiohttp
from google.auth import (
    aws,
    compute_engine,
    external_account_authorized_user,
    identity_pool,
    impersonated_credentials,
    pluggable,
)
from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2 import credentials, service_account
from yarl import URL

from protocols.credential_text import private_key
from protocols.errors import InvalidCredential, NoAccessToken, RhoPushError
from protocols.fcm.credentials import (
    GOOGLE_URI,
    IMPERSONATED,
    METADATA,
    SCOPE,
    SERVICE_ACCOUNT,
    AccessToken,
    GoogleCredential,
    fetched_token,
)
from protocols.provider_response import date_s

_ANSWER_MAX: Final = 65_536
"""Most bytes of a token response, which normally has about 2,000."""
_DOMAIN: Final = "googleapis.com"
_AWS: Final = "urn:ietf:params:aws:token-type:aws4_request"
EXECUTABLES: Final = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
_FAILURES: Final = (
    GoogleAuthError,
    RhoPushError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Errors that google-auth raises for unexpected responses and credentials."""


class GoogleResponse(NamedTuple):
    """An HTTP response in the form that google-auth expects (`google.auth.transport.Response`)."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class LoopRequest:
    """Transport of google-auth (`google.auth.transport.Request`): called in its thread, it sends requests on the
    event loop.

    Args:
        session: HTTP session of the event loop.
        tls: context that trusts the token servers.
        until: monotonic time after which no request is sent.

    Attributes:
        skew_s: seconds by which the last server's clock is ahead of the local one, if it sent its time.
    """

    def __init__(self, session: aiohttp.ClientSession, tls: ssl.SSLContext, until: float) -> None:
        self._session, self._tls, self._until = session, tls, until
        self._loop = asyncio.get_running_loop()
        self._asked: concurrent.futures.Future[GoogleResponse | Exception] | None = None
        self.skew_s = 0.0

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> GoogleResponse:
        """Send a request, and wait for the response.

        Raises:
            TransportError: there is no response in time, or the response is not HTTP.
            NoAccessToken: the attempt has ended. google-auth sleeps and repeats a request after a TransportError only.
        """
        left_s = self._until - time.monotonic()
        if left_s <= 0 or self._loop.is_closed():
            raise NoAccessToken("no time is left")
        context = self._tls if kwargs.get("cert") is None else _showing(kwargs["cert"])
        exchange = self._outcome(url, method, body, headers or {}, context)
        self._asked = asyncio.run_coroutine_threadsafe(exchange, self._loop)
        try:
            answer = self._asked.result(min(left_s, timeout or left_s))
        except (concurrent.futures.CancelledError, TimeoutError) as error:
            self._asked.cancel()
            raise TransportError("no answer in time") from error
        if not isinstance(answer, GoogleResponse):
            raise TransportError(str(answer) or type(answer).__name__) from answer
        self.skew_s = _ahead_s(answer.headers.get("date", ""))
        return answer

    def close(self) -> None:
        """Send no further requests; pending ones get no response."""
        self._until = 0.0
        if self._asked is not None:
            self._asked.cancel()

    async def _outcome(self, *request: Any) -> GoogleResponse | Exception:
        """The response or the error, as a value, since the thread may have stopped waiting for it."""
        try:
            return await self._exchange(*request)
        except (aiohttp.ClientError, OSError, TypeError, ValueError) as error:
            return error

    async def _exchange(
        self,
        url: str,
        method: str,
        body: bytes | str | None,
        headers: Mapping[str, str],
        context: ssl.SSLContext,
    ) -> GoogleResponse:
        # The request is worth a token, so a redirect to another server is not followed.
        async with self._session.request(
            method, URL(url, encoded=True), data=body, headers=headers, ssl=context, allow_redirects=False
        ) as answer:
            data = b""
            async for part in answer.content.iter_any():
                data += part
                if len(data) > _ANSWER_MAX:
                    raise aiohttp.ClientPayloadError("the token server's answer is too long")
            plain = {name.lower(): value for name, value in answer.headers.items()}
            return GoogleResponse(answer.status, plain, data)


class GoogleTokens:
    """Gets access tokens for one credential.

    Args:
        credential: the credential from the settings.
        tls: context that trusts the token servers.
    """

    def __init__(self, credential: GoogleCredential, tls: ssl.SSLContext) -> None:
        self._credential, self._tls = credential, tls
        self._thread: threading.Thread | None = None

    async def fetch(self, budget_s: float) -> AccessToken:
        """Get one token.

        Args:
            budget_s: seconds after which the attempt counts as failed, whatever google-auth does.

        Raises:
            NoAccessToken: no token could be fetched.
        """
        if self._thread is not None and self._thread.is_alive():
            raise NoAccessToken("the last attempt to get an access token has not ended")
        loop = asyncio.get_running_loop()
        timeout = aiohttp.ClientTimeout(total=budget_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            request = LoopRequest(session, self._tls, time.monotonic() + budget_s)
            work = _RefreshJob(self._credential, request, loop.create_future())
            self._thread = threading.Thread(target=work.run, name="google-auth", daemon=True)
            self._thread.start()
            try:
                async with asyncio.timeout(budget_s):
                    return await work.found
            except TimeoutError as error:
                raise NoAccessToken(f"google-auth got no access token within {budget_s:.0f} s") from error
            finally:
                request.close()


class _RefreshJob(NamedTuple):
    """One token refresh that runs in the thread; the event loop gets its outcome."""

    credential: GoogleCredential
    request: LoopRequest
    found: asyncio.Future[AccessToken]

    def run(self) -> None:
        outcome: AccessToken | NoAccessToken
        try:
            outcome = _refreshed(self.credential, self.request)
        except _FAILURES as error:
            outcome = NoAccessToken(_words(error))
            outcome.__cause__ = error
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            self.found.get_loop().call_soon_threadsafe(_resolve, self.found, outcome)


def _resolve(found: asyncio.Future[AccessToken], outcome: AccessToken | NoAccessToken) -> None:
    if found.done():  # timed out meanwhile
        return
    if isinstance(outcome, AccessToken):
        found.set_result(outcome)
    else:
        found.set_exception(outcome)


def _words(error: BaseException) -> str:
    """The text of an error of google-auth: a message and usually the server's response."""
    texts = [str(part) for part in error.args if isinstance(part, str)]
    return "google-auth: " + (" ".join(" ".join(texts).split()) or type(error).__name__)


def _refreshed(credential: GoogleCredential, request: LoopRequest) -> AccessToken:
    built = build(credential)  # a new object each time, without state of an earlier attempt
    built.refresh(request)
    now_s = time.time()
    if credential.kind == IMPERSONATED or "service_account_impersonation_url" in credential.info:
        # The IAM Credentials API returns an expiry time of its own clock, not a lifetime.
        now_s += request.skew_s
    expiry = built.expiry
    life_s = None if expiry is None else expiry.replace(tzinfo=UTC).timestamp() - now_s
    return fetched_token(built.token, life_s)


def check(credential: GoogleCredential) -> None:
    """Validate a credential with google-auth, without sending a request.

    Raises:
        InvalidCredential: google-auth does not accept it, or would never run its program.
    """
    try:
        build(credential)
    except InvalidCredential:
        raise
    except _FAILURES:
        # The cause is not chained, since its text may quote the credential.
        raise InvalidCredential(
            f"google-auth does not accept this credential of the type {credential.kind}", field="credentials"
        ) from None
    _check_program(credential)


def _check_program(credential: GoogleCredential) -> None:
    """Refuse a credential whose tokens come from a program, unless the environment allows that google-auth runs it
    (AIP-4117)."""
    source = credential.info.get("credential_source")
    if not isinstance(source, Mapping) or source.get("executable") is None:
        return
    if os.environ.get(EXECUTABLES) != "1":
        raise InvalidCredential(
            f"the FCM credentials run a program, which google-auth does only with {EXECUTABLES}=1 in the environment",
            field="credentials.credential_source.executable",
        )


def build(credential: GoogleCredential) -> Any:
    """Make google-auth's object for a credential."""
    return _BUILDERS[credential.kind](credential.info)


def _metadata(info: Mapping[str, Any]) -> Any:
    return compute_engine.Credentials(scopes=[SCOPE], universe_domain=_DOMAIN)


def _user(info: Mapping[str, Any]) -> Any:
    """Without scopes: a refresh token has its own, and a request for others is refused."""
    return credentials.Credentials(
        token=None,
        refresh_token=info["refresh_token"],
        token_uri=info.get("token_uri") or GOOGLE_URI,
        client_id=info["client_id"],
        client_secret=info["client_secret"],
        quota_project_id=info.get("quota_project_id"),
    )


def _service_account(info: Mapping[str, Any]) -> Any:
    pem = private_key(info["private_key"]).decode("ascii")
    fields = {"token_uri": GOOGLE_URI, **info, "private_key": pem}
    return service_account.Credentials.from_service_account_info(fields, scopes=[SCOPE])


def _external(info: Mapping[str, Any]) -> Any:
    if info["subject_token_type"] == _AWS:
        return aws.Credentials.from_info(info, scopes=[SCOPE])
    kind = pluggable if info["credential_source"].get("executable") is not None else identity_pool
    return kind.Credentials.from_info(info, scopes=[SCOPE])


def _external_user(info: Mapping[str, Any]) -> Any:
    return external_account_authorized_user.Credentials.from_info(info)


def _impersonated(info: Mapping[str, Any]) -> Any:
    """`from_impersonated_service_account_info` is not used, since it ignores the URL's host."""
    source = info["source_credentials"]
    url: str = info["service_account_impersonation_url"]
    return impersonated_credentials.Credentials(
        source_credentials=_BUILDERS[source["type"]](source),
        target_principal=url.rpartition("/")[2].partition(":")[0],
        target_scopes=[SCOPE],
        delegates=info.get("delegates"),
        iam_endpoint_override=url,
    )


_BUILDERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    METADATA: _metadata,
    SERVICE_ACCOUNT: _service_account,
    "authorized_user": _user,
    "external_account": _external,
    "external_account_authorized_user": _external_user,
    IMPERSONATED: _impersonated,
}


def _showing(files: tuple[str, str]) -> ssl.SSLContext:
    """A TLS context for an external account with an X.509 certificate, whose files google-auth has found."""
    context = ssl.create_default_context()
    context.load_cert_chain(*files)
    return context


def _ahead_s(date: str) -> float:
    """Seconds by which a server's Date is ahead of the local clock; 0 if it is not a date."""
    at_s = date_s(date)
    return 0.0 if at_s is None else at_s - time.time()
