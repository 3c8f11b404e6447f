"""The service on a real socket and a real store, a stand-in for RhoConnect's logins, and a client at byte level."""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.mailbox.store import MailboxLimits, MailboxStore
from gateway.metrics import Metrics
from gateway.rhoconnect_push import (
    Authenticator,
    PushService,
    PushTimeouts,
    RhoConnectAuthenticator,
    RunningService,
    open_service,
)
from gateway.store.address import RedisAddress
from protocols.rhoconnect_push.ids import Ids

SECRET = b"a secret of this installation"
LIFE_S = 2_592_000
WAIT_S = 30.0
SESSION = "rhoconnect_session=BAh7--signed"
USER, APP = "usermike", "app1mike"


def basic(name: str, password: str = "pwd") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def old_id(kind: str, owner: str, uuid: str = "0e5f2b1a-1d52-4c7c-9b7e-2d1f6a3c9e01") -> str:
    """Return an id as rhoconnect-push creates it; `kind` is "instance", "cookie" or "token"."""
    return f"{uuid}:{hashlib.md5(f'{owner}{uuid}{kind}Secret'.encode()).hexdigest()}"


async def _nothing() -> None:
    pass


@dataclass
class RhoConnect:
    """Answers rps_login: users need the session and Basic credentials, apps their password."""

    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    stop: Callable[[], Awaitable[None]] = field(repr=False, default=_nothing)

    async def app_login(self, request: web.Request) -> web.Response:
        cookies, authorization = self._note(request)
        return web.Response(status=204 if SESSION in cookies.split("; ") and authorization else 401)

    async def system_login(self, request: web.Request) -> web.Response:
        _, authorization = self._note(request)
        return web.Response(status=204 if authorization in (basic(APP), basic("app2mike")) else 401)

    def _note(self, request: web.Request) -> tuple[str, str]:
        cookies, authorization = (request.headers.get(name, "") for name in ("Cookie", "Authorization"))
        self.asked.append((request.path, cookies, authorization))
        return cookies, authorization


@contextlib.asynccontextmanager
async def rhoconnect() -> AsyncIterator[RhoConnect]:
    """Serve the two routes of RhoConnect that rhoconnect-push calls."""
    judge = RhoConnect()
    app = web.Application()
    app.router.add_get("/rc/v1/app/rps_login", judge.app_login)
    app.router.add_get("/rc/v1/system/rps_login", judge.system_login)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    judge.stop = runner.cleanup
    judge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield judge
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Answer:
    """One response. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """The connection of a device or an app server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: push"]
        for name, text in headers.items():
            lines += [f"{name.replace('_', '-')}: {value}" for value in text.split("\n")]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> Answer:
        async with asyncio.timeout(WAIT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(first.split()[1]), headers, body)

    async def ended(self) -> bytes:
        """Read until the connection ends."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read()


@dataclass
class Phone:
    """The ids that a device stores."""

    instance: str
    cookie: str
    token: str = ""

    @property
    def poll(self) -> str:
        return f"/nextMessage/{self.instance}"


@dataclass
class House:
    """The service, its store and its RhoConnect."""

    service: PushService
    store: MailboxStore
    redis: Redis
    judge: RhoConnect
    port: int
    ids: Ids

    @contextlib.asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def call(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        async with self.wire() as wire:
            wire.send(method, target, body, **headers)
            return await wire.answer()

    async def new_phone(self, app: str = APP) -> Phone:
        """Register as an Android device does (contract §9.1)."""
        credentials = {"Authorization": basic(USER)}
        made = await self.call("POST", "/instanceId", Cookie=SESSION, **credentials)
        instance = made.json["instance"]
        given = await self.call("GET", f"/instanceId/{instance}", Cookie=SESSION, **credentials)
        cookie = given.headers["set-cookie"].partition(";")[0].partition("=")[2]
        phone = Phone(instance, cookie)
        phone.token = (await self.register(phone, app)).json["token"]
        return phone

    async def register(self, phone: Phone, app: str = APP, method: str = "PUT", user: str = USER) -> Answer:
        target = f"/registrations/{phone.instance}/{user}/{app}"
        cookies = f"instance={phone.cookie}\n{SESSION}"
        return await self.call(method, target, Cookie=cookies, Authorization=basic(user))

    async def post(self, token: str, message: Any, app: str = APP) -> Answer:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return await self.call(
            "POST",
            f"/messageQueue/{token}",
            body,
            Content_Type="application/json",
            Authorization=basic(app),
        )

    async def queued(self, instance: str) -> list[Any]:
        """The messages in Redis, lowest id first."""
        return [json.loads(text) for text in await self.redis.zrange(f"que:{instance}", 0, -1)]

    async def rest(self, instance: str) -> list[bytes]:
        """All keys except the counter of an instance, which is kept for a minute if it is ahead of the clock."""
        counter = f"cnt:{instance}".encode()
        return [key for key in await self.redis.keys("*") if key != counter]

    async def waits(self, number: int = 1) -> None:
        """Wait until this many polls wait, and the store has replied that no message is queued for them."""
        async with asyncio.timeout(WAIT_S):
            while len(self.service.polls) != number or self.service.polls.asking:
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def house(
    redis: Redis,
    address: str,
    *,
    times: PushTimeouts | None = None,
    keeping: MailboxLimits | None = None,
    weak: bool = True,
    clock: Callable[[], float] = SHARED_CLOCK.now_s,
) -> AsyncIterator[House]:
    """Open the service on a free port."""
    store = MailboxStore(RedisAddress.parse(address), keeping, clock)
    await store.open()
    async with rhoconnect() as judge:
        users = RhoConnectAuthenticator(f"{judge.url}/rc/v1/app/rps_login")
        apps = RhoConnectAuthenticator(f"{judge.url}/rc/v1/system/rps_login")
        ids = Ids(SECRET, weak=weak)
        service = PushService(
            store, ids, Authenticator(users.user, apps.app), times or PushTimeouts(), Metrics()
        )
        sock = socket.create_server(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        opened: RunningService = await open_service(service, sock)
        try:
            yield House(service, store, redis, judge, port, ids)
        finally:
            await opened.close(1.0)
            await users.close()
            await apps.close()
            await store.close()
