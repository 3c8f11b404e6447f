"""Real servers: TLS, redirects, long answers, and none."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from gateway.errors import CredentialError
from gateway.settings import Secret, WebhookSettings
from gateway.webhooks import http_sink
from gateway.webhooks.http_sink import HttpSink
from protocols.webhooks.attempts import DeliveryAttempt, Outcome
from protocols.webhooks.events import PING_COMPLETED, Message
from tests.support.ports import free_port, unanswering_port
from tests.support.webhooks import OTHER_SECRET, SECRET, Receiver, receiving

MESSAGE = Message("msg_1-0_ping-completed", PING_COMPLETED, 5, [{"ping_id": "ä"}])


def endpoint(url: str, *secrets: str, ca_file: Path | None = None) -> WebhookSettings:
    return WebhookSettings(Secret(url), tuple(map(Secret, secrets or (SECRET,))), (PING_COMPLETED,), ca_file)


async def sent(settings: WebhookSettings, times: int = 1) -> DeliveryAttempt:
    sink = HttpSink(settings)
    try:
        for _ in range(times):
            attempt = await sink.send(MESSAGE)
        return attempt
    finally:
        await sink.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_message_is_signed_and_accepted(receiver: Receiver) -> None:
    assert (await sent(endpoint(receiver.url), times=2)).outcome is Outcome.DELIVERED
    assert [message.id for message in receiver.messages] == [MESSAGE.id] * 2
    assert receiver.messages[0].body == MESSAGE.body()


@pytest.mark.parametrize("secret", [SECRET, OTHER_SECRET])
async def test_while_a_secret_is_rotated_both_are_good(secret: str) -> None:
    async with receiving(secret) as receiver:
        attempt = await sent(endpoint(receiver.url, SECRET, OTHER_SECRET))
        assert attempt.outcome is Outcome.DELIVERED
        third = "whsec_" + base64.b64encode(bytes(32)).decode()
        assert (await sent(endpoint(receiver.url, third))).outcome is Outcome.FAILED


async def test_tls_is_verified(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with receiving(tls=server_context(authority)) as receiver:
        assert (await sent(endpoint(receiver.url, ca_file=ca_file))).outcome is Outcome.DELIVERED
        attempt = await sent(endpoint(receiver.url))
        assert (attempt.outcome, attempt.status) == (Outcome.FAILED, None)
        assert "certificate" in attempt.error
        assert len(receiver.messages) == 1
    async with receiving(tls=server_context(authority, "elsewhere.example")) as receiver:
        assert (await sent(endpoint(receiver.url, ca_file=ca_file))).outcome is Outcome.FAILED
        assert not receiver.messages


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialError):
        HttpSink(endpoint("https://localhost/", ca_file=tmp_path / "none.pem"))


async def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    async with receiving() as target:
        receiver.status, receiver.headers = 307, {"Location": target.url}
        attempt = await sent(endpoint(receiver.url))
        assert (attempt.outcome, attempt.status) == (Outcome.FAILED, 307)
        assert "redirect" in attempt.error
        assert not target.messages


@pytest.mark.parametrize(("status", "outcome"), [(410, Outcome.DISABLED), (503, Outcome.FAILED)])
async def test_410_disables_an_endpoint_and_503_is_a_failure(
    receiver: Receiver, status: int, outcome: Outcome
) -> None:
    receiver.status, receiver.headers = status, {"Retry-After": "7"}
    attempt = await sent(endpoint(receiver.url))
    assert (attempt.outcome, attempt.status) == (outcome, status)
    assert attempt.retry_after_s == (7.0 if status == 503 else None)


async def test_a_long_answer_is_read_to_its_bound(receiver: Receiver) -> None:
    receiver.status, receiver.answer = 200, bytes(8 * 1024 * 1024)
    assert (await sent(endpoint(receiver.url), times=2)).outcome is Outcome.DELIVERED


async def test_a_missing_answer_is_a_failure(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sink, "_TIMEOUT", http_sink.aiohttp.ClientTimeout(total=0.2))
    receiver.delay_s = 30.0
    attempt = await sent(endpoint(receiver.url))
    assert (attempt.outcome, "no complete answer" in attempt.error) == (Outcome.FAILED, True)


async def test_a_server_that_accepts_no_connection_is_described_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_sink, "_TIMEOUT", http_sink.aiohttp.ClientTimeout(total=60, connect=0.2))
    with unanswering_port() as port:
        attempt = await sent(endpoint(f"http://127.0.0.1:{port}/"))
    assert (attempt.outcome, attempt.error) == (Outcome.FAILED, "no connection within 5 s")


async def test_an_unreachable_server_is_a_failure() -> None:
    attempt = await sent(endpoint(f"http://127.0.0.1:{free_port()}/"))
    assert (attempt.outcome, attempt.status) == (Outcome.FAILED, None)
    assert attempt.error


async def test_an_answer_that_is_not_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"\x00\xff no HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert (await sent(endpoint(f"http://127.0.0.1:{port}/"))).outcome is Outcome.FAILED


@contextlib.asynccontextmanager
async def answering(*parts: bytes, close: bool) -> AsyncIterator[str]:
    """A server that sends the parts of an answer one by one, and then closes or does nothing more."""

    ended: set[asyncio.Event] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = asyncio.Event()
        ended.add(end)
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            if not close:
                await reader.read()
        writer.close()
        end.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.gather(*(end.wait() for end in ended))


INCOMPLETE = {
    "no body": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",),
    "a part of the body": (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", b"abc"),
    "a damaged chunk": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"zz\r\n"),
    "byte by byte": tuple(bytes([one]) for one in b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
}


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("parts", INCOMPLETE.values(), ids=INCOMPLETE)
async def test_the_status_counts_although_the_body_is_late_or_incomplete(
    parts: tuple[bytes, ...], close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sink, "_READ_S", 0.1)
    async with answering(*parts, close=close) as url:
        attempt = await sent(endpoint(url), times=2)
    assert (attempt.outcome, attempt.status) == (Outcome.DELIVERED, 200)
    refusal = (parts[0].replace(b"200 OK", b"410 Gone"), *parts[1:]) if len(parts) < 3 else ()
    if refusal:
        async with answering(*refusal, close=close) as url:
            assert (await sent(endpoint(url))).outcome is Outcome.DISABLED


async def test_an_answer_that_arrives_in_parts_keeps_its_connection() -> None:
    connections, ended = 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(MESSAGE.body()))
                for part in (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", b"abc", b"def"):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert (await sent(endpoint(url), times=3)).outcome is Outcome.DELIVERED
        await ended.wait()
    assert connections == 1
