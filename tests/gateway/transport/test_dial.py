"""Failures before the first request, on real sockets."""

import asyncio
from contextlib import suppress

import pytest
import trustme

from gateway.errors import ProviderUnreachable
from gateway.transport.dial import probe
from gateway.transport.feed import Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from gateway.transport.tls import client_context
from protocols.certificate import Certificate
from tests.support.provider import ListFeed, Provider, deaf_port


async def why(endpoint: Endpoint, timeout_s: float = 5) -> str:
    with pytest.raises(ProviderUnreachable) as caught:
        await probe(endpoint, timeout_s)
    return str(caught.value)


async def test_a_reachable_provider_is_connected_and_disconnected() -> None:
    async with Provider() as provider:
        await probe(provider.endpoint(), 5)
        await provider.until(lambda: bool(provider.peers) and provider.alive == [])
        assert provider.requests == []
        assert provider.peers[0].machine.closed


async def test_a_port_without_a_listener_is_a_refused_connection() -> None:
    provider = Provider()
    assert await why(provider.endpoint()) == "connection refused"
    provider.sock.close()


async def test_a_host_without_an_address_is_a_name_not_found() -> None:
    assert await why(Endpoint("no-such-host.invalid", 443, client_context(), "x")) == "host name not found"


async def test_a_host_that_cannot_be_a_name() -> None:
    assert await why(Endpoint("a" * 70 + ".test", 443, client_context(), "x")) == "not a valid host name"


async def test_a_certificate_of_an_authority_that_is_not_trusted() -> None:
    async with Provider() as provider:
        told = await why(provider.endpoint(trust=trustme.CA()))
        assert told == "certificate not trusted: unable to get local issuer certificate"


async def test_a_certificate_for_another_host_is_not_trusted() -> None:
    async with Provider() as provider:
        context = provider.endpoint().ssl
        told = await why(Endpoint("localhost.localdomain", provider.port, context, "x"))
        assert told.startswith(("certificate not trusted: ", "host name not found"))


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_a_server_that_does_not_offer_http2(alpn: tuple[str, ...]) -> None:
    async with Provider(alpn=alpn) as provider:
        told = await why(provider.endpoint())
        assert told in {
            "the server does not offer HTTP/2 (ALPN)",
            "TLS failed: tlsv1 alert no application protocol",
        }


async def test_a_server_that_accepts_the_connection_and_sends_nothing() -> None:
    with deaf_port() as port:
        assert (
            await why(Endpoint("127.0.0.1", port, client_context(), "x"), timeout_s=0.1)
            == "no connection within 0.1 s"
        )


async def test_a_server_that_does_not_speak_tls() -> None:
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await why(Endpoint("127.0.0.1", port, client_context(), "x"))).startswith("TLS failed: ")
    await ended.wait()
    server.close()


async def test_the_certificate_is_presented_to_a_provider_that_requests_it() -> None:
    clients = trustme.CA()
    ours = clients.issue_cert("com.example.app")
    async with Provider(client_ca=clients) as provider:
        endpoint = provider.endpoint(
            certificate=Certificate.load(ours.private_key_and_cert_chain_pem.bytes())
        )
        feed = ListFeed(1)
        pool = ConnectionPool(endpoint, feed, connections_max=1, deadline_s=5)
        pool.wake()
        await feed.all_settled()
        assert feed.statuses == [200]
        shown = provider.peers[0].transport.get_extra_info("peercert")
        assert ("DNS", "com.example.app") in shown["subjectAltName"]
        await pool.close(1)


async def test_a_provider_that_requires_a_missing_client_certificate_is_described() -> None:
    async with Provider(client_ca=trustme.CA()) as provider:
        feed = ListFeed(1)
        pool = ConnectionPool(
            provider.endpoint(), feed, connections_max=1, deadline_s=5, tuning=Tuning(backoff_first_s=1000)
        )
        pool.wake()
        await feed.until(lambda: bool(feed.errors))
        assert "certificate" in feed.errors[0] or "connection lost" in feed.errors[0]
        assert feed.statuses in ([], [0])
        await pool.close(0)
