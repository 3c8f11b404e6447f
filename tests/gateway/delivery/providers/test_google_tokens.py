"""Access tokens by google-auth, with the simulator as every server of Google's that gives one."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from google.auth import _exponential_backoff
from google.auth.compute_engine import _metadata

from gateway.delivery.providers import fcm_credentials, google_tokens
from gateway.delivery.providers.fcm_credentials import FcmAccount, read_fcm
from gateway.delivery.providers.google_tokens import GoogleTokens
from gateway.errors import CredentialError
from gateway.settings import FcmSettings, Secret
from gateway.simulators import FcmSimulator
from protocols.errors import NoAccessToken
from protocols.fcm.credentials import AccessToken, GoogleCredential

PATIENCE_S = 30
PROJECT = "some-project"


def external(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    return fcm.make_external_account(PROJECT, folder / "subject-token")


def external_that_impersonates(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    said = fcm.make_external_account("", folder / "subject-token")
    return {**said, "service_account_impersonation_url": fcm.make_impersonation(PROJECT)}


def user(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    return fcm.make_user(PROJECT)


def impersonation(fcm: FcmSimulator, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": fcm.make_impersonation(PROJECT),
        "source_credentials": source,
        "delegates": [],
    }


def impersonated_by_a_user(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    return impersonation(fcm, fcm.make_user("another-project"))


def impersonated_by_an_account(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    return impersonation(fcm, dict(fcm.make_account("another-project").info))


def account(fcm: FcmSimulator, folder: Path) -> dict[str, Any]:
    return dict(fcm.make_account(PROJECT).info)


KINDS = (
    external,
    external_that_impersonates,
    user,
    impersonated_by_a_user,
    impersonated_by_an_account,
    account,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_credentials, "_RETRY_S", (0.01,))


@asynccontextmanager
async def asking(fcm: FcmSimulator, text: str) -> AsyncIterator[tuple[FcmAccount, asyncio.Event]]:
    came = asyncio.Event()
    said = FcmSettings(credentials=Secret(text), project_id=PROJECT, ca_file=fcm.ca_file)
    access = read_fcm(said)
    found = FcmAccount(access.account, access.token_context(), came.set)
    try:
        found.authorization()
        yield found, came
    finally:
        await found.close()


def sends_for(fcm: FcmSimulator, found: FcmAccount) -> str:
    """The project that the account's token may send for."""
    headers = dict(found.authorization() or ())
    token = headers[b"authorization"].decode().removeprefix("Bearer ")
    grant = fcm.rules.tokens.find(token, time.time())
    assert grant is not None
    return grant.project_id


@pytest.mark.parametrize("kind", KINDS)
async def test_a_credential_of_any_kind_gets_a_token(
    kind: Callable[[FcmSimulator, Path], dict[str, Any]], tmp_path: Path
) -> None:
    async with FcmSimulator() as fcm, asking(fcm, json.dumps(kind(fcm, tmp_path))) as (found, came):
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert sends_for(fcm, found) == PROJECT


async def test_the_metadata_server_gives_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FcmSimulator() as fcm:
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", fcm.make_machine(PROJECT))
        async with asking(fcm, "metadata") as (found, came):
            await asyncio.wait_for(came.wait(), PATIENCE_S)
            assert sends_for(fcm, found) == PROJECT


async def test_a_refused_credential_is_reported_without_its_secrets(tmp_path: Path) -> None:
    async with FcmSimulator() as fcm:
        said = external(fcm, tmp_path)
        fcm.rules.google.workloads.clear()
        async with asking(fcm, json.dumps(said)) as (found, came):
            async with asyncio.timeout(PATIENCE_S):
                while found.error is None:
                    await asyncio.sleep(0)
            assert "google-auth" in found.error and "invalid_grant" in found.error
            assert (tmp_path / "subject-token").read_text() not in found.error
            assert not came.is_set()


async def test_a_subject_token_that_is_written_later_is_read(tmp_path: Path) -> None:
    async with FcmSimulator() as fcm:
        said = external(fcm, tmp_path)
        file = tmp_path / "subject-token"
        file.rename(tmp_path / "elsewhere")
        async with asking(fcm, json.dumps(said)) as (found, came):
            async with asyncio.timeout(PATIENCE_S):
                while found.error is None:
                    await asyncio.sleep(0)
            (tmp_path / "elsewhere").rename(file)
            await asyncio.wait_for(came.wait(), PATIENCE_S)
            assert sends_for(fcm, found) == PROJECT


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "google-auth"]


def external_by(source: dict[str, Any], **more: str) -> FcmSettings:
    said = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
        **more,
    }
    return FcmSettings(credentials=Secret(json.dumps(said)), project_id=PROJECT)


def test_a_program_that_google_auth_would_not_run_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said = external_by({"executable": {"command": "/bin/true", "timeout_millis": 5_000}})
    for value in ("", "0", "true"):
        monkeypatch.setenv(google_tokens.EXECUTABLES, value)
        with pytest.raises(CredentialError, match=f"run a program.* {google_tokens.EXECUTABLES}=1"):
            read_fcm(said)
    monkeypatch.setenv(google_tokens.EXECUTABLES, "1")
    assert read_fcm(said).project == PROJECT


@pytest.mark.parametrize(
    "source",
    [
        {"file": 5},  # open(5) would read a descriptor of the gateway
        {"url": 5},
        {"url": "https://[::1"},
        {"url": "ftp://x/"},
        {"url": "http://a..b/"},
        {"url": None, "file": "x"},
    ],
)
def test_a_source_that_names_no_location_is_refused(source: dict[str, Any]) -> None:
    with pytest.raises(CredentialError, match=r"credential_source' (url|file) must be a"):
        read_fcm(external_by(source))


def test_an_impersonation_of_nobody_is_refused() -> None:
    url = "https://iamcredentials.googleapis.com/v1/x"
    with pytest.raises(CredentialError, match="must name a service account"):
        read_fcm(external_by({"file": "x"}, service_account_impersonation_url=url))


@asynccontextmanager
async def standing(answer: bytes = b"") -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that begins an answer and never ends it: its address, and what is set once it was asked."""
    asked = asyncio.Event()
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        asked.set()
        await reader.read()  # the client's end
        writer.close()
        await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
        await asyncio.wait_for(asyncio.gather(*serving), PATIENCE_S)


def user_at(address: str) -> GoogleCredential:
    said = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    return GoogleCredential.read(json.dumps({**said, "token_uri": f"{address}/token"}))


async def lasting_threads() -> list[threading.Thread]:
    """The threads of google-auth that do not end in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while threads():
                await asyncio.sleep(0)
    return threads()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["silent", "endless"])
async def test_an_unresponsive_server_blocks_neither_the_loop_nor_a_thread(answer: bytes) -> None:
    async with standing(answer) as (address, asked):
        tokens = GoogleTokens(user_at(address), ssl.create_default_context())
        with pytest.raises(NoAccessToken):
            await tokens.fetch(0.5)
        assert asked.is_set()
        assert await lasting_threads() == []


async def test_a_silent_metadata_server_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library google-auth repeats a failed request, with growing pauses, for up to half a minute."""
    async with standing() as (address, asked):
        monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", address.removeprefix("http://"))
        pauses: list[float] = []
        monkeypatch.setattr(_exponential_backoff, "time", SimpleNamespace(sleep=pauses.append))
        tokens = GoogleTokens(GoogleCredential.read("metadata"), ssl.create_default_context())
        with pytest.raises(NoAccessToken):
            await tokens.fetch(0.5)
        assert asked.is_set()
        assert await lasting_threads() == []
    assert len(pauses) <= 1


async def test_the_end_of_the_gateway_cancels_pending_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_credentials, "_FETCH_S", 10.0 * PATIENCE_S)
    async with standing() as (address, asked):
        found = FcmAccount(user_at(address), ssl.create_default_context(), asked.clear)
        found.authorization()
        await asyncio.wait_for(asked.wait(), PATIENCE_S)
        await found.close()
        assert await lasting_threads() == []
        assert (found.authorization(), found.error) == (None, None)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"type": "external_account"}, "no audience"),
        (
            {"type": "impersonated_service_account", "source_credentials": {}},
            "no service_account_impersonation",
        ),
        ({"type": "authorized_user", "client_id": "x", "client_secret": "y"}, "no refresh_token"),
        ({"type": "gdch_service_account"}, "must have the type"),
        ("Metadata", "must be the JSON of a service account"),
    ],
)
def test_an_invalid_credential_is_named(said: Any, words: str) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    with pytest.raises(CredentialError, match=words):
        read_fcm(FcmSettings(credentials=Secret(text), project_id=PROJECT))


def test_a_credential_that_google_auth_refuses_is_an_error_of_the_tree() -> None:
    said = {
        "type": "external_account",
        "audience": "x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": "a", "url": "https://also.example"},
    }
    with pytest.raises(CredentialError, match="google-auth does not accept"):
        read_fcm(FcmSettings(credentials=Secret(json.dumps(said)), project_id=PROJECT))


async def test_a_user_whose_json_names_no_project_needs_the_setting() -> None:
    async with FcmSimulator() as fcm:
        said = {name: value for name, value in fcm.make_user("x").items() if name != "quota_project_id"}
        with pytest.raises(CredentialError, match=r"fcm\.project_id"):
            read_fcm(FcmSettings(credentials=Secret(json.dumps(said))))
        said = impersonation(fcm, fcm.make_user("another"))
        assert read_fcm(FcmSettings(credentials=Secret(json.dumps(said)))).project == PROJECT


def test_an_external_account_of_aws_is_exchanged_as_such() -> None:
    said = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "environment_id": "aws1",
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity",
        },
    }
    built = google_tokens.build(GoogleCredential.read(json.dumps(said).encode()))
    assert type(built).__module__ == "google.auth.aws"


async def test_the_delegates_of_an_impersonation_reach_google_auth() -> None:
    async with FcmSimulator() as fcm:
        said = impersonation(fcm, fcm.make_user("another-project")) | {"delegates": ["between@example.com"]}
        built = google_tokens.build(GoogleCredential.read(json.dumps(said).encode()))
    assert built._delegates == ["between@example.com"]


@asynccontextmanager
async def answering(**answers: web.Response) -> AsyncIterator[tuple[str, list[str]]]:
    """A server with one answer for each path, named by its last part: its address, and the names that were asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path.rpartition("/")[2].partition(":")[0])
        return answers[asked[-1]]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), asked


async def fetched(said: dict[str, Any] | GoogleCredential) -> AccessToken:
    credential = said if isinstance(said, GoogleCredential) else GoogleCredential.read(json.dumps(said))
    return await GoogleTokens(credential, ssl.create_default_context()).fetch(PATIENCE_S)


@pytest.mark.parametrize("characters", [60_000, 66_000])
async def test_a_token_answer_has_a_bound(characters: int) -> None:
    said = {"access_token": "x", "expires_in": 3600, "scope": "s" * characters}
    async with answering(token=web.json_response(said)) as (address, _):
        if characters == 60_000:
            assert (await fetched(user_at(address))).value == "x"
        else:
            with pytest.raises(NoAccessToken, match="too long"):
                await fetched(user_at(address))


async def test_a_redirect_of_a_token_request_is_not_followed() -> None:
    there = web.Response(status=307, headers={"Location": "/other"})
    good = web.json_response({"access_token": "x", "expires_in": 3600})
    async with answering(token=there, other=good) as (address, asked):
        with pytest.raises(NoAccessToken):
            await fetched(user_at(address))
    assert set(asked) == {"token"}


async def test_an_attempt_that_has_not_ended_has_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library google-auth may sleep, or wait for a program, for longer than the attempt lasts."""
    over = threading.Event()
    monkeypatch.setattr(_exponential_backoff, "time", SimpleNamespace(sleep=lambda _: over.wait(PATIENCE_S)))
    busy = web.json_response({"error": "internal_failure"}, status=503)
    async with answering(token=busy) as (address, asked):
        tokens = GoogleTokens(user_at(address), ssl.create_default_context())
        for words in ("got no access token", "has not ended"):
            with pytest.raises(NoAccessToken, match=words):
                await tokens.fetch(0.5)
        assert (asked, len(threads())) == (["token"], 1)
        over.set()
        assert await lasting_threads() == []


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time is five hours behind UTC."""
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize("ahead_s", [-600, 600])
@pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])  # RFC 9110 §5.6.7
async def test_the_expiry_of_an_impersonation_follows_the_clock_of_its_server(
    ahead_s: int, form: str
) -> None:
    now_s = time.time()
    expires = datetime.fromtimestamp(now_s + ahead_s + 1_800, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    date = {"Date": datetime.fromtimestamp(now_s + ahead_s, UTC).strftime(form)}
    found = web.json_response({"accessToken": "x", "expireTime": expires}, headers=date)
    own = web.json_response({"access_token": "y", "expires_in": 3600})
    async with answering(token=own, sender=found) as (address, _):
        said = {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": f"{address}/serviceAccounts/sender:generateAccessToken",
            "source_credentials": dict(user_at(address).info),
        }
        token = await fetched(said)
    assert abs(token.expires_s - 1_800) < 300
