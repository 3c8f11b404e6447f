"""Operators' browsers and a Prometheus server: live overviews of the console, and a scrape of the metrics each second.

An order opens the pages and is answered when each of them has its first state; the next order closes them.
"""

import asyncio
import re
from contextlib import AsyncExitStack, suppress
from typing import Final

import aiohttp
import msgspec
import uvloop

from gateway.bench.roles import order_lines, result

_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')
_SCRAPE_S: Final = 1.0
_OK: Final = 200
_STATE: Final = b"event: state"


class PagesOrder(msgspec.Struct):
    """One order.

    Attributes:
        port: the gateway's port.
        token: the API token that logs in.
        pages: number of live pages to open; 0: close all.
    """

    port: int
    token: str
    pages: int


class PagesResult(msgspec.Struct):
    """The counts since the order that opened the pages.

    Attributes:
        open: pages whose stream has not ended.
        states: states that all pages received.
        scrapes: complete scrapes of the metrics.
    """

    open: int
    states: int
    scrapes: int


class ConsolePages:
    """Open pages of one session, and the scrapes.

    Args:
        order: the gateway and the number of pages.
        session: HTTP client with cookies.
    """

    def __init__(self, order: PagesOrder, session: aiohttp.ClientSession) -> None:
        self._order = order
        self._session = session
        self._tasks: list[asyncio.Task[None]] = []
        self._first = [asyncio.Event() for _ in range(order.pages)]
        self.counts = PagesResult(0, 0, 0)

    async def open(self) -> None:
        """Log in, and open the pages."""
        async with self._session.get("/console/login") as form:
            found = _CSRF.search(await form.text())
        if found is None:
            raise ValueError("the login of the console has no CSRF token")
        fields = {"csrf": found[1], "token": self._order.token}
        async with self._session.post("/console/login", data=fields, allow_redirects=False) as answer:
            if answer.status >= 400:
                raise ValueError(f"the console answered the login with {answer.status}")
        self._tasks = [asyncio.create_task(self._page(first)) for first in self._first]
        for page, first in zip(self._tasks, self._first, strict=True):
            shown = asyncio.create_task(first.wait())
            await asyncio.wait((shown, page), return_when=asyncio.FIRST_COMPLETED)
            if page.done():
                page.result()
        self._tasks.append(asyncio.create_task(self._scrape()))

    async def close(self) -> None:
        """Close the pages.

        Raises:
            aiohttp.ClientError: a page or a scrape has failed.
        """
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _page(self, first: asyncio.Event) -> None:
        async with self._session.get("/console/live/overview") as stream:
            if stream.status != _OK:
                raise ValueError(f"the console answered a live page with {stream.status}")
            self.counts.open += 1
            async for line in stream.content:
                if line.startswith(_STATE):
                    self.counts.states += 1
                    first.set()
            self.counts.open -= 1

    async def _scrape(self) -> None:
        await asyncio.sleep(_SCRAPE_S / 2)
        while True:
            async with self._session.get("/metrics") as answer:
                await answer.read()
                self.counts.scrapes += answer.status == _OK
            await asyncio.sleep(_SCRAPE_S)


async def _browse() -> None:
    lines = await order_lines()
    while line := await lines.readline():
        order = msgspec.json.decode(line, type=PagesOrder)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    f"http://127.0.0.1:{order.port}",
                    cookie_jar=aiohttp.CookieJar(unsafe=True),  # cookies of an address
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=30.0),
                )
            )
            pages = ConsolePages(order, session)
            stack.push_async_callback(pages.close)
            await pages.open()
            result(pages.counts)
            await lines.readline()
            counts = msgspec.structs.replace(pages.counts)
        result(counts)


if __name__ == "__main__":
    uvloop.run(_browse())
