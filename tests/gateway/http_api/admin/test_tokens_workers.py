"""The revocation of a named token in both worker processes of a gateway, and the end of its console sessions."""

import asyncio
import contextlib
from pathlib import Path

import aiohttp

from gateway.console.sessions import COOKIE
from tests.conftest import StartGateway
from tests.gateway.console.harness import Browser
from tests.gateway.http_api.harness import Wire, request, wire
from tests.support.gateway import Gateway

REVOKED_S = 3.0
"""Time after which every worker refuses a revoked token."""
CONNECTIONS_MAX = 500


def owners(gateway: Gateway) -> dict[int, int]:
    """The worker of each connection to the gateway, by the client's port."""
    inodes = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *_, inode = line.split()[:10]
        if int(local.rpartition(":")[2], 16) == gateway.port:
            inodes[f"socket:[{inode}]"] = int(remote.rpartition(":")[2], 16)
    found = {}
    for pid in gateway.workers:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                port = inodes.get(str(descriptor.readlink()))
                if port:
                    found[port] = pid
    return found


async def connections(gateway: Gateway, opened: contextlib.AsyncExitStack) -> list[Wire]:
    """One connection to each worker; the kernel chooses the worker of a connection."""
    found: dict[int, Wire] = {}
    for _ in range(CONNECTIONS_MAX):
        connection = await opened.enter_async_context(wire(gateway.port))
        connection.send(request(method="GET", path="/healthz", token=None))
        await connection.answer()
        port = connection.writer.get_extra_info("sockname")[1]
        found.setdefault(owners(gateway)[port], connection)
        if len(found) == len(gateway.workers) == 2:
            return list(found.values())
    raise AssertionError(f"{CONNECTIONS_MAX} connections reached one worker alone")


async def session_of(gateway: Gateway, token: str) -> str:
    """The cookie of a console session that the token began."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(gateway.url, cookie_jar=jar) as client:
        browser = Browser(client)
        assert (await browser.log_in(token=token))[0] == 303
        return f"{COOKIE}={browser.cookies[COOKIE]}"


def page(path: str, cookie: str) -> bytes:
    return request(method="GET", path=path, token=None, headers={"Cookie": cookie})


async def test_both_workers_refuse_it_and_its_sessions_and_live_pages_end(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway({}, workers=2)
    wanted = {"name": "ci", "scopes": ["ping", "read"]}
    token = (await gateway.request("POST", "/rc/v1/admin/tokens", json=wanted)).json()["token"]
    cookie = await session_of(gateway, token)
    async with contextlib.AsyncExitStack() as opened:
        both, live = [await connections(gateway, opened) for _ in range(2)]
        for connection in both:
            connection.send(request({"user_id": "nobody"}, token=token))
            assert (await connection.answer()).status == 200
            connection.send(page("/console", cookie))
            assert (await connection.answer()).status == 200
        for connection in live:
            connection.send(page("/console/live/overview", cookie))
            await connection.until(b"event: state")
        assert (await gateway.request("DELETE", "/rc/v1/admin/tokens/ci")).status == 200
        for connection in both:
            connection.send(page("/console", cookie))
            assert (await connection.answer()).status == 303
        await asyncio.gather(*(connection.rest() for connection in live), asyncio.sleep(REVOKED_S))
        for connection in both:
            connection.send(request({"user_id": "nobody"}, token=token))
            assert (await connection.answer()).status == 422
