"""The bounded part of a response that is read."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from gateway.system.answer_start import ANSWER_BYTES, read_start


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 10_000)


async def short(_: web.Request) -> web.Response:
    return web.Response(body=b"y" * 10_000)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/endless", endless)
    app.router.add_get("/short", short)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_short_body_is_read_and_its_connection_reused_and_an_endless_one_is_cut(port: int) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession(auto_decompress=False) as session:
        for _ in range(2):
            async with session.get(f"http://127.0.0.1:{port}/short") as answer:
                assert await read_start(answer) == b"y" * 10_000
        connector = session.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert sum(map(len, connector._conns.values())) == 1
        async with session.get(f"http://127.0.0.1:{port}/endless") as answer:
            assert await read_start(answer) == b"x" * ANSWER_BYTES
