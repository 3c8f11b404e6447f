"""Descriptions of connection errors, without addresses and keys."""

import asyncio
import contextlib
import socket
import ssl
from http.client import BadStatusLine, IncompleteRead

import aiohttp
import pytest
import trustme

from gateway.system.network_errors import describe


def test_the_words_of_the_operating_system_name_no_address() -> None:
    refused = ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 443)")
    assert describe(refused) == "connection refused"
    assert describe(OSError(113, "No route to 10.0.0.1")) == "no route to host"
    assert (
        describe(OSError("Multiple exceptions: 10.0.0.1, 10.0.0.2"))
        == "no address of the host accepts a connection"
    )
    assert describe(socket.gaierror(-2, "db.internal")) == "host name not found"
    assert describe(TimeoutError()) == "timed out"


def test_an_error_of_a_library_is_described_by_its_cause() -> None:
    try:
        try:
            raise ConnectionResetError(104, "x")
        except ConnectionResetError as inner:
            raise RuntimeError("10.0.0.1 went away") from inner
    except RuntimeError as error:
        assert describe(error) == "connection reset by the peer"
    assert describe(RuntimeError("10.0.0.1 went away")) == "RuntimeError"


async def broken_by(client: ssl.SSLContext, server: ssl.SSLContext | None, name: str = "localhost") -> str:
    """Connect with TLS, and return the description of the failure."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(OSError):
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    try:
        with pytest.raises(OSError) as failed:
            await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
    finally:
        listener.close()
    return describe(failed.value)


@pytest.fixture
def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


authority = trustme.CA()


async def test_an_untrusted_certificate_is_described_with_its_cause(
    server_context: ssl.SSLContext,
) -> None:
    stranger = await broken_by(ssl.create_default_context(), server_context)
    assert stranger == "certificate not trusted: unable to get local issuer certificate"
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    other = await broken_by(trusting, server_context, "push.example.com")
    assert other == "certificate not trusted: it is for another host name"


async def test_a_server_without_tls_is_described() -> None:
    words = await broken_by(ssl.create_default_context(), None)
    assert words.startswith("TLS failed: ")
    assert words != "TLS failed: the handshake was not completed"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "the server closed the connection without an answer"),
        (b"HTTP/1.1 204", "the server closed the connection without an answer"),
        (b"SSH-2.0\r\n\r\n", "the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", "the answer is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "the answer is incomplete"),
    ],
)
async def test_a_damaged_answer_is_described(answer: bytes, words: str) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as failed:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                await response.read()
        await ended.wait()
    assert describe(failed.value) == words


def test_the_errors_of_http_client_are_described() -> None:
    assert describe(BadStatusLine("10.0.0.1")) == "the answer is not valid HTTP"
    assert describe(IncompleteRead(b"secret", 5)) == "the answer is incomplete"


async def test_aiohttps_errors_are_described_by_their_cause(server_context: ssl.SSLContext) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    port = listener.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as failed:
            await session.get(f"https://localhost:{port}/")
    listener.close()
    assert describe(failed.value) == "certificate not trusted: unable to get local issuer certificate"
