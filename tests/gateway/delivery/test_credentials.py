"""Access tokens from a faulty token server: a token is requested until it arrives."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.clock import ProviderClock, SharedClock
from gateway.delivery import credentials
from gateway.delivery.credentials import ApnsKey, FcmAccount
from gateway.simulators.keys import make_service_account
from protocols.apns.credentials import BUCKET_S, ProviderKey
from protocols.fcm.credentials import ServiceAccount

PATIENCE_S = 30
PRIVATE = ec.generate_private_key(ec.SECP256R1())
START_S = 1_800_000_000 // BUCKET_S * BUCKET_S


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
    monkeypatch.setattr(credentials, "_RETRY_S", (0.01,))


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
async def test_a_token_is_requested_until_it_arrives(answer: bytes) -> None:
    server = TokenServer([answer, GOOD])
    async with asking(server) as (account, came):
        assert account.authorization() is None
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert account.authorization() == GOOD_HEADERS
        assert len(server.asked) == 2


async def test_an_endless_answer_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_FETCH_S", 10 * PATIENCE_S)
    server = TokenServer([b"HTTP/1.1 200 OK\r\n\r\n", GOOD], endless=True)
    async with asking(server) as (account, came):
        account.authorization()
        await asyncio.wait_for(came.wait(), PATIENCE_S)
        assert account.authorization() == GOOD_HEADERS


async def test_a_token_request_follows_no_redirect() -> None:
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


# Provider tokens by clocks that are wrong.


class Wall:
    """A shared and a local clock, as a test sets them."""

    def __init__(self) -> None:
        self.steady_s = 1_000.0
        self.local_ahead_s = self.redis_ahead_s = 0.0
        self.shared = SharedClock(lambda: int(self.steady_s * 1e9), lambda: int(self.local_s() * 1e9))
        self.read()

    def local_s(self) -> float:
        return START_S + self.steady_s + self.local_ahead_s

    def read(self) -> None:
        redis_s = START_S + self.steady_s + self.redis_ahead_s
        self.shared.record_reading(self.shared.steady_ms(), int(redis_s * 1000))


def apns_key(wall: Wall) -> ApnsKey:
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = ProviderKey(pem, "ABC123DEFG", "DEF123GHIJ")
    return ApnsKey(key, ProviderClock("apns", wall.shared, wall.local_s))


def issued_s(key: ApnsKey) -> int:
    ((_, value),) = key.authorization()
    claims = jwt.decode(value.removeprefix(b"bearer "), options={"verify_signature": False})
    return int(claims["iat"])


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_refused_token_is_replaced_by_one_of_the_correct_clock(jump_s: int) -> None:
    wall = Wall()
    wall.redis_ahead_s = jump_s
    wall.read()
    key = apns_key(wall)
    refused = key.authorization()
    assert key.refresh()
    renewed = key.authorization()
    assert renewed != refused
    assert 60 <= wall.local_s() - issued_s(key) < BUCKET_S + 60
    assert key.refresh()  # what was sent with the old one comes back, too
    assert key.authorization() == renewed


def test_a_refused_key_is_not_tried_again() -> None:
    key = apns_key(Wall())
    key.authorization()
    assert not key.refresh()
    assert not key.corrected()


def test_a_token_too_old_for_a_provider_with_a_fast_clock_is_replaced() -> None:
    wall = Wall()
    key = apns_key(wall)
    first_s = issued_s(key)
    wall.steady_s += BUCKET_S - 1_000 - 60 - 1
    assert issued_s(key) == first_s
    assert key.refresh()
    second_s = issued_s(key)
    assert second_s - first_s >= 1_200
    assert wall.local_s() - second_s < 120
    wall.steady_s += BUCKET_S
    assert issued_s(key) == second_s + BUCKET_S


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_clock_that_is_corrected_ends_the_wait_of_a_refused_token(jump_s: int) -> None:
    wall = Wall()
    wall.local_ahead_s = wall.redis_ahead_s = jump_s
    wall.read()
    key = apns_key(wall)
    key.authorization()
    key.refresh()
    assert not key.corrected()
    wall.local_ahead_s = wall.redis_ahead_s = 0.0
    wall.read()
    assert key.corrected()
    assert 60 <= wall.local_s() - issued_s(key) < BUCKET_S + 60


@pytest.mark.parametrize("ahead_s", [-86_400, 86_400])
async def test_the_date_of_the_token_server_is_used(ahead_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
