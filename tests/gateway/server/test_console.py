"""The console of a real gateway."""

import asyncio
import re
from pathlib import Path

import aiohttp

from gateway.console.history import FINE
from tests.conftest import StartGateway
from tests.support.gateway import TOKEN
from tests.support.redis import RedisServer
from tests.support.worker import working

QUICK = {"gateway.console.recorder.FINE": {"step_ms": 500}}
"""Samples at short intervals, so that the first one comes soon."""


async def log_in(session: aiohttp.ClientSession) -> int:
    async with session.get("/console/login") as answer:
        csrf = re.search(r'name="csrf" value="([^"]+)"', await answer.text())
    assert csrf
    data = {"csrf": csrf.group(1), "token": TOKEN}
    async with session.post("/console/login", data=data, allow_redirects=False) as answer:
        return answer.status


async def test_a_gateway_serves_it_and_records_the_time_series(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(workers=2, constants=QUICK)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(gateway.url, cookie_jar=jar) as session:
        assert await log_in(session) == 303
        async with asyncio.timeout(60):
            points: list[object] = []
            while not points:
                await asyncio.sleep(0.05)
                async with session.get(f"/console/series/{FINE.name}") as answer:
                    points = (await answer.json())["points"]
        async with session.get("/console") as answer:
            text = await answer.text()
    table = text.partition('id="workers"')[2].partition("</table>")[0]
    assert table.count('<th scope="row"') == 2  # both workers, regardless of which of them answered


async def test_it_can_be_disabled(tmp_path: Path) -> None:
    with RedisServer("valkey") as server:
        for enabled, status in ((True, 200), (False, 404)):
            settings = {"console": {"enabled": enabled}}
            async with working(tmp_path, server.address, settings) as worker:
                assert (await worker.request("GET", "/console/login")).status == status
