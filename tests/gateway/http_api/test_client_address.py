"""The client of a request, with and without trusted proxies, over real connections."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.http_api.client_address import (
    CLIENT_ADDRESSES,
    ClientAddresses,
    address_group,
    client_address,
    used_tls,
)

TRUSTED = ("10.0.0.0/8", "::1", "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.7",), "192.0.2.1"),  # not a trusted proxy: its header is its own invention
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.7",), "198.51.100.7"),
        (
            "10.0.0.1",
            ("203.0.113.9, 198.51.100.7",),
            "198.51.100.7",
        ),  # the left one is the client's invention
        ("10.0.0.1", ("198.51.100.7, 10.2.2.2",), "198.51.100.7"),
        ("10.0.0.1", ("203.0.113.9", "198.51.100.7", "10.2.2.2"), "198.51.100.7"),
        ("10.0.0.1", ("10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        ("10.0.0.1", ("203.0.113.9, unknown",), "10.0.0.1"),
        ("10.0.0.1", ("203.0.113.9, _hidden, 10.2.2.2",), "10.2.2.2"),
        ("10.0.0.1", ("198.51.100.7:4711",), "198.51.100.7"),
        ("10.0.0.1", ("[2001:DB8::7]:4711",), "2001:db8::7"),
        ("10.0.0.1", ("2001:db8:0::7",), "2001:db8::7"),
        ("10.0.0.1", (" , ,198.51.100.7, ,",), "198.51.100.7"),
        ("::ffff:10.0.0.1", ("::ffff:198.51.100.7",), "198.51.100.7"),
        ("::1%lo", ("fe80::1%eth0",), "fe80::1"),
        ("", ("198.51.100.7",), ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    peer: str, forwarded: Sequence[str], client: str
) -> None:
    assert ClientAddresses(TRUSTED).client(peer, forwarded).address == client


def test_an_endless_header_is_read_from_its_end_only() -> None:
    forwarded = ",".join(["203.0.113.9"] + ["10.9.9.9"] * 100_000)
    found = ClientAddresses(TRUSTED).client("10.0.0.1", (forwarded,))
    assert (found.address, found.hops) == ("10.9.9.9", 32)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
    ],
)
def test_an_ipv6_network_counts_as_one_client(address: str, group: str) -> None:
    assert address_group(address) == group


@asynccontextmanager
async def echo(*trusted: str) -> AsyncIterator[int]:
    """A server that answers with what it finds of its client; yields its port."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{client_address(request)} {used_tls(request)}")

    app = web.Application()
    app[CLIENT_ADDRESSES] = ClientAddresses(trusted)
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    sock = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, sock).start()
    try:
        yield int(sock.getsockname()[1])
    finally:
        await runner.cleanup()


async def asked(port: int, *fields: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET / HTTP/1.1", "Host: gateway", "Connection: close", *fields, "", ""]
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(30):
        found = await reader.read()
    writer.close()
    return found.rpartition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ((), "127.0.0.1 False"),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"), "192.0.2.1 True"),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: HTTPS"), "192.0.2.1 True"),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"), "192.0.2.1 False"),
        (("X-Forwarded-Proto: https",), "127.0.0.1 True"),
        # Two proxies, each of which appends: the client's connection is the left one of the two trusted values.
        (("X-Forwarded-For: 192.0.2.1, 10.0.0.9", "X-Forwarded-Proto: https, http"), "192.0.2.1 True"),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https, http"), "192.0.2.1 False"),
        (("X-Forwarded-For: 9.9.9.9", "X-Forwarded-For: 192.0.2.1"), "192.0.2.1 False"),
    ],
)
async def test_the_header_of_a_trusted_proxy_is_used(fields: Sequence[str], found: str) -> None:
    async with echo("127.0.0.0/8", "10.0.0.0/8") as port:
        assert await asked(port, *fields) == found


async def test_the_header_of_any_other_client_is_ignored() -> None:
    async with echo("10.0.0.0/8") as port:
        found = await asked(port, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
        assert found == "127.0.0.1 False"
