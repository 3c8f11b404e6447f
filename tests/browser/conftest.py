"""One gateway with simulated providers and many users, and one browser, for all tests of this folder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from protocols.webhooks.events import PING_COMPLETED, PING_FAILED_DEVICES
from tests.support.gateway import TOKEN, Gateway
from tests.support.providers import TOPIC, provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.requirements import need_program
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.webhooks import Receiver, receiving

MANY = 100_000
"""Users beside the named ones."""
ARGUMENTS = (
    "--no-sandbox",  # it does not work as root, as in a container
    "--disable-site-isolation-trials",  # a process for each page takes a second to start
    "--renderer-process-limit=1",
)
XSS = "<img src=x onerror=document.title='broken'>"
"""A text that changes the page's title if a page does not escape it."""
LONG = "w" * 250
"""A text without a place to break it."""
RIGHT_TO_LEFT = "\u202e\u0645\u0631\u062d\u0628\u0627 " + "\u0634" * 100
NAMED = 6
"""Users beside the `MANY`."""
TIMEOUT_MS = 30_000
DEAD_PIN = "d" * 64
QUICK = {
    "gateway.console.recorder.FINE": {"step_ms": 1_000},
    "protocols.webhooks.attempts.RETRY_S": [1.0, 2.0],
}
"""Samples of the plots, and attempts at a webhook, at shorter intervals than those of an operator's gateway."""


class Site(NamedTuple):
    """The gateway and everything around it."""

    gateway: Gateway
    redis: Redis
    apns: ApnsSimulator
    fcm: FcmSimulator
    receiver: Receiver

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/console"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with RedisServer("valkey") as server:
        async with (
            store_client(server.socket) as redis,
            ApnsSimulator() as apns,
            FcmSimulator() as fcm,
            receiving() as receiver,
        ):
            await _lay_users(redis)
            settings = provider_settings(
                apns,
                fcm,
                retry={"apns_5xx_s": 0.2},
                auth={"devices": "off"},
                console={"demo": True},
                webhooks={"crm": receiver.settings(PING_COMPLETED, PING_FAILED_DEVICES)},
            )
            gateway = Gateway(
                tmp_path_factory.mktemp("g"),
                settings,
                app={"redis": server.address},
                sources={"Product": {"push_notify": "true"}, XSS: {}},
                constants=QUICK,
            )
            try:
                await gateway.start()
                yield Site(gateway, redis, apns, fcm, receiver)
            finally:
                await gateway.close()


async def _lay_users(redis: Redis) -> None:
    for start in range(0, MANY, 10_000):
        logins = [f"user{number:06}" for number in range(start, start + 10_000)]
        await redis.sadd("app:application:users", *logins)
    await lay_user(redis, "alice", [apple("a" * 64, client_id="a1", device_app_id=TOPIC)])
    await lay_user(redis, "bob", [android("b" * 40, client_id="b1", device_app_id=TOPIC)])
    await lay_user(redis, "dora", [apple(DEAD_PIN, client_id="d1", device_app_id=TOPIC)])
    strange = [apple("e" * 64, client_id=XSS, device_app_id=XSS, device_app_version=XSS, phone_id=XSS)]
    await lay_user(redis, XSS, strange)
    for number, text in enumerate((LONG, RIGHT_TO_LEFT)):
        fields = dict.fromkeys(("device_app_id", "device_app_version", "phone_id"), text)
        await lay_user(redis, text, [apple(f"{number}f" * 32, client_id=text, **fields)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = need_program("chromium", "chromium")
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield made
        await made.close()


class Window:
    """A window of a browser that collects everything that must not happen."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site
        self.faults: list[str] = []
        self.lost = False
        """Whether the gateway is expected to be lost: then requests may fail."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", lambda request: self._on_request(request.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.lost:
            self.faults.append(f"{message.type}: {message.text}")

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.site.gateway.url, "data:")):
            self.faults.append(f"a request to {url}")

    async def open(self, path: str = "") -> None:
        await self.page.goto(self.site.url + path)

    async def log_in(self) -> None:
        await self.open()
        await self.page.get_by_label("API token").fill(TOKEN)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url(self.site.url)


@asynccontextmanager
async def open_context(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(viewport={"width": 1100, "height": 800}, **options)
    made.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A context without a session."""
    async with open_context(browser) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def logged_in(browser: Browser, site: Site) -> AsyncIterator[BrowserContext]:
    """A context with a session, which most tests share: a context takes seconds to open."""
    async with open_context(browser) as made:
        first = Window(await made.new_page(), site)
        await first.log_in()
        await first.page.close()
        assert first.faults == []
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def window(logged_in: BrowserContext, site: Site) -> AsyncIterator[Window]:
    """A window with a session. At the end it must have met no fault."""
    made = Window(await logged_in.new_page(), site)
    await made.open()
    yield made
    await made.page.close()
    assert made.faults == []


@pytest_asyncio.fixture(loop_scope="module")
async def window_alone(context: BrowserContext, site: Site) -> AsyncIterator[Window]:
    """A window with a session and a context of its own, for a test that changes the clock or the network."""
    made = Window(await context.new_page(), site)
    await made.log_in()
    yield made
    await asyncio.sleep(0)
    assert made.faults == []
