"""The console on a real socket, and a client with a cookie jar."""

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from redis.asyncio import Redis
from yarl import URL

from gateway.console import ConsoleStores, console_routes
from gateway.console.recorder import History
from gateway.http_api.operator_stores import OperatorStores
from gateway.queue.device_deliveries import DeviceDeliveries
from gateway.queue.receipt_tries import Try
from gateway.queue.worker_reports import WorkerReports
from gateway.registry.audit_log import AuditLog
from gateway.registry.named_tokens import NamedTokens, new_token
from gateway.registry.scopes import API_TOKEN
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from gateway.store.keys import console_session
from tests.gateway.http_api.harness import TOKEN, House, house

CSRF = re.compile(r'name="csrf" value="([^"]+)"')
NONCE = re.compile(r'name="nonce" value="([^"]+)"')


class KnownTries:
    """Records of receipts by ping id."""

    def __init__(self) -> None:
        self.known: dict[str, list[Try]] = {}

    async def of(self, ping_id: str) -> Sequence[Try]:
        return self.known.get(ping_id, [])


class KnownDevices:
    """Devices by user, and the restored ones."""

    def __init__(self) -> None:
        self.known: dict[str, list[dict[str, Any]]] = {}
        self.restored: list[str] = []

    async def of_user(self, user: str) -> list[dict[str, Any]]:
        return self.known.get(user, [])

    async def restore_devices(self, client_ids: Sequence[str], _: object) -> dict[str, Any]:
        self.restored += client_ids
        return {"restored": len(client_ids), "next_cursor": None}


class KnownResets:
    """The lanes whose reset was requested."""

    def __init__(self) -> None:
        self.lanes: list[str] = []

    async def request(self, lane: str) -> None:
        self.lanes.append(lane)


class Console:
    """The console and everything behind it that a test looks at or changes."""

    def __init__(self, api: House, redis: Redis, connection: RedisConnection) -> None:
        self.api = api
        self.redis = redis
        self.url = f"http://127.0.0.1:{api.port}"
        self.reports = WorkerReports(connection)
        self.history = History(connection, "gateway:0")
        self.tries = KnownTries()
        self.deliveries = DeviceDeliveries(connection)
        self.devices = KnownDevices()
        self.resets = KnownResets()

    @contextlib.asynccontextmanager
    async def browser(self, **options: Any) -> AsyncIterator["Browser"]:
        """A client without a session."""
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(self.url, cookie_jar=jar, **options) as session:
            yield Browser(session)

    @contextlib.asynccontextmanager
    async def operator(self, token: str = TOKEN) -> AsyncIterator["Browser"]:
        """A client with a session."""
        async with self.browser() as browser:
            status, _ = await browser.log_in(token=token)
            assert status == 303
            yield browser

    async def named_token(self, name: str, scopes: Sequence[str], apps: Sequence[str] = ()) -> str:
        """Create a named token, and return its text."""
        tokens = self.api.services.named_tokens
        assert tokens is not None
        return await tokens.create(new_token(name, scopes, apps, None, API_TOKEN, 1_000_000.0))

    async def session_keys(self) -> list[bytes]:
        return [key async for key in self.redis.scan_iter(console_session("*"))]


class Browser:
    """A client with cookies, which follows no redirect by itself."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    async def get(self, path: str | URL, **options: Any) -> tuple[int, str]:
        async with self.session.get(path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text()

    async def headers(self, path: str, **options: Any) -> Any:
        async with self.session.get(path, allow_redirects=False, **options) as answer:
            return answer.headers

    async def post(self, path: str, **options: Any) -> tuple[int, str, str]:
        """Status, Location and text."""
        async with self.session.post(path, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def csrf(self, path: str) -> str:
        _, text = await self.get(path)
        found = CSRF.search(text)
        assert found, text
        return found.group(1)

    async def log_in(self, **fields: str) -> tuple[int, str]:
        csrf = await self.csrf("/console/login")
        status, location, _ = await self.post("/console/login", data={"csrf": csrf, **fields})
        return status, location

    async def submit(self, page: str, path: str, data: Any) -> tuple[int, str, str]:
        """Send a form of a page with the page's CSRF token."""
        return await self.post(path, data={"csrf": await self.csrf(page), **data})


@contextlib.asynccontextmanager
async def open_console(redis: Redis, address: str, **options: Any) -> AsyncIterator[Console]:
    """Serve the console. `options` are those of `house`."""
    connection = RedisConnection(RedisAddress.parse(address), "test")
    await connection.open(10.0)
    try:
        async with _console(redis, connection, options) as found:
            yield found
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _console(
    redis: Redis, connection: RedisConnection, options: dict[str, Any]
) -> AsyncIterator[Console]:
    tries, devices, resets = KnownTries(), KnownDevices(), KnownResets()
    reports, history = WorkerReports(connection), History(connection, "gateway:0")
    stores: list[Any] = [reports, resets, None, None, devices, devices]
    operators = OperatorStores(*stores)
    async with house(
        redis,
        further_routes=console_routes(ConsoleStores(reports, history, tries, DeviceDeliveries(connection))),
        operators=operators,
        named_tokens=NamedTokens(redis, lambda: 1_000_000.0),
        audit_log=AuditLog(redis),
        **options,
    ) as api:
        made = Console(api, redis, connection)
        made.tries, made.devices, made.resets = tries, devices, resets
        yield made
