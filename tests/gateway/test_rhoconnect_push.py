"""The RhoConnect Push service on its socket: over TLS, and until its end."""

import asyncio
import socket
import ssl

import pytest
import trustme
from redis.asyncio import Redis

from gateway.rhoconnect_push import open_service
from tests.gateway.rhoconnect_push.harness import House, house
from tests.support.worker_core import until


@pytest.fixture
async def service(redis_client: Redis, redis_address: str) -> House:
    async with house(redis_client, redis_address) as found:
        yield found


async def test_at_its_end_polls_are_answered_and_nothing_new_is_taken(service: House) -> None:
    phone = await service.new_phone()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    running = await open_service(service.service, listener)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {phone.poll} HTTP/1.1\r\nHost: push\r\nCookie: instance={phone.cookie}\r\n\r\n".encode()
    )
    await until(lambda: len(service.service.polls) == 1)
    await running.close(10.0)
    assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_it_speaks_tls_where_it_has_a_certificate(service: House) -> None:
    authority = trustme.CA()
    context, device = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(device)
    listener = socket.create_server(("127.0.0.1", 0))
    running = await open_service(service.service, listener, context)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", listener.getsockname()[1], ssl=device, server_hostname="localhost"
    )
    writer.write(b"GET /nextMessage/nobody HTTP/1.1\r\nHost: push\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 4")
    writer.close()
    await running.close(1.0)
