"""Access tokens from a token server that misbehaves: one is asked for until it comes."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest

from gateway.delivery.providers import fcm_credentials
from gateway.delivery.providers.fcm_credentials import FcmAccount, read_fcm
from gateway.errors import CredentialError
from gateway.settings import FcmSettings, Secret
from gateway.simulators.keys import make_service_account
from protocols.fcm.credentials import ServiceAccount

PATIENCE_S = 30


def http(status: str, body: bytes, *headers: str) -> bytes:
    """An answer of HTTP/1.1."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


GOOD = http("200 OK", b'{"access_token":"good","expires_in":3600}')
GOOD_HEADERS = ((b"authorization", b"Bearer good"),)


class TokenServer:
    """Gives its answers in turn, the last one again and again."""

    def __init__(self, answers: Sequence[bytes], *, endless: bool = False) -> None:
        self.answers = list(answers)
        self.endless = endless
        self.asked: list[str] = []
        self.uri = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one answer; an endless one never comes to its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        last = len(self.answers) == 1
        writer.write(self.answers[0] if last else self.answers.pop(0))
        try:
            for _ in range(200 if self.endless and not last else 0):
                writer.write(b"x" * 65_536)
                await writer.drain()
            if self.endless and not last:
                await reader.read()
        except ConnectionError:
            pass
        writer.close()


@asynccontextmanager
async def asking(server: TokenServer) -> AsyncIterator[tuple[FcmAccount, asyncio.Event]]:
    """An account that asks this server, and what is set when a token comes."""
    came = asyncio.Event()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.uri = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/token"
    key = make_service_account("demo", server.uri)
    account = FcmAccount(ServiceAccount.from_json(key.json), ssl.create_default_context(), came.set)
    try:
        yield account, came
    finally:
        await account.close()
        listening.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_credentials, "_RETRY_S", (0.01,))


@pytest.mark.parametrize(
    "answer",
    [
        http("500 Internal Server Error", b""),
        http("503 Service Unavailable", b'{"error":"temporarily_unavailable"}'),
        http("200 OK", b"<html>"),
        http("200 OK", b'{"access_token":"' + b"a" * 100_000 + b'","expires_in":3600}'),
        http("200 OK", b"no gzip", "Content-Encoding: gzip"),
        http("400 Bad Request", b'{"error":"invalid_grant"}'),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        b"\x00\xff" * 100,
        b"",
    ],
    ids=[
        "500",
        "503",
        "no JSON",
        "a token without end",
        "no gzip",
        "refused",
        "no chunk",
        "cut",
        "no HTTP",
        "closed",
    ],
)
async def test_a_token_is_asked_for_until_it_comes(answer: bytes) -> None:
    server = TokenServer([answer, GOOD])
    async with asking(server) as (account, came):
        assert account.authorization() is None
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert account.authorization() == GOOD_HEADERS
        assert len(server.asked) == 2


async def test_an_answer_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcm_credentials, "_FETCH_S", 10 * PATIENCE_S)
    server = TokenServer([b"HTTP/1.1 200 OK\r\n\r\n", GOOD], endless=True)
    async with asking(server) as (account, came):
        account.authorization()
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert account.authorization() == GOOD_HEADERS


async def test_what_asks_for_a_token_goes_nowhere_else() -> None:
    """It is signed for this server alone, and another one must not have it."""
    server = TokenServer(
        [http("307 Temporary Redirect", b"", "Location: /elsewhere", "Connection: close"), GOOD]
    )
    async with asking(server) as (account, came):
        account.authorization()
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert server.asked == ["/token", "/token"]


async def test_a_refused_token_is_replaced_though_the_server_fails_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = TokenServer([http("200 OK", b'{"access_token":"old"}'), http("500 Oh", b""), GOOD])
    async with asking(server) as (account, came):
        account.authorization()
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        came.clear()
        monkeypatch.setattr(account, "_fetched_at", float("-inf"))
        account.refresh()
        assert account.authorization() is None
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert account.authorization() == GOOD_HEADERS


@pytest.mark.parametrize("ahead_s", [-86_400, 86_400])
async def test_the_token_servers_date_is_believed(ahead_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clocks of this host are wrong: the second claim is by the server's clock."""
    asked_s: list[float] = []

    def claim(account: ServiceAccount, now_s: float) -> tuple[str, bytes]:
        asked_s.append(now_s)
        return account.token_uri, b"assertion=signed"

    monkeypatch.setattr(ServiceAccount, "token_request", claim)
    right_s = time.time() + ahead_s
    refused = http(
        "400 Bad Request", b'{"error":"invalid_grant"}', f"Date: {formatdate(right_s, usegmt=True)}"
    )
    async with asking(TokenServer([refused, GOOD])) as (account, came):
        account.authorization()
        await asyncio.wait_for(came.wait(), PATIENCE_S)
    assert asked_s[0] == pytest.approx(right_s - ahead_s, abs=PATIENCE_S)
    assert asked_s[1] == pytest.approx(right_s, abs=PATIENCE_S)


ACCOUNT = make_service_account("some-project", "https://oauth2.googleapis.com/token")
TOKEN_URIS = ("https://[::1", "https://", "https://x:99999/", "http://x/", "ftp://x/", "https://x:y/", "")


@pytest.mark.parametrize("uri", TOKEN_URIS)
def test_an_accounts_token_uri_that_is_none_is_an_error_of_the_tree(uri: str) -> None:
    text = json.dumps({**ACCOUNT.info, "token_uri": uri})
    said = FcmSettings(credentials=Secret(text))
    with pytest.raises(CredentialError, match=r"fcm\.credentials: .*token_uri"):
        read_fcm(said)
