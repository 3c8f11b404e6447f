"""The HTTP API on a real socket, a queue that records its pings, and a client that reads single answers."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from redis.asyncio import Redis

from gateway.errors import RhoPushError
from gateway.http_api import Dependencies, HttpApi, HttpTimeouts, open_http_api
from gateway.http_api.app import FurtherRoutes, no_routes
from gateway.http_api.dependencies import Readiness
from gateway.metrics import Metrics
from gateway.queue.append_batch import Accepted, IdempotencyKey
from gateway.queue.completion import Completion
from gateway.queue.ping_list import parse_query
from gateway.registry.scopes import is_visible
from gateway.settings import Secret, Settings
from protocols.ping.model import Ping

TOKEN = "sesame-0123456789"
PING = "/rc/v1/users/ping"
WAIT_S = 30.0

Done = Callable[[Accepted | RhoPushError | None], None]


class RecordingQueue:
    """Accepts at once, unless it is told to hold or to fail. Ids count up: two runs can be compared."""

    def __init__(self) -> None:
        self.pings: list[Ping] = []
        self.keys: list[IdempotencyKey | None] = []
        self.sizes: list[int] = []
        self.failure: RhoPushError | None = None
        self.holding = False
        self.instants: list[int] = []
        self.instant_error: RhoPushError | None = None
        self.held: list[tuple[str, Done]] = []
        self.arrived = asyncio.Event()

    def submit(self, ping: Ping, size: int, done: Done, *, key: IdempotencyKey | None = None) -> str:
        """Keep the ping and answer it."""
        ping_id = f"{len(self.pings):032x}"
        self.pings.append(ping)
        self.keys.append(key)
        self.sizes.append(size)
        self.arrived.set()
        if self.holding:
            self.held.append((ping_id, done))
        else:
            done(self.failure or Accepted(ping_id))
        return ping_id

    def at(self, deliver_at_ms: int) -> "RecordingQueue":
        """Keep the instant of the ping that follows."""
        if self.instant_error is not None:
            raise self.instant_error
        self.instants.append(deliver_at_ms)
        return self

    def commit(self) -> None:
        """Accept all that is held, in one turn of the loop, as a group commit does."""
        held, self.held = self.held, []
        for _, done in held:
            done(self.failure)

    async def has(self, count: int) -> None:
        """Wait until so many pings came."""
        async with asyncio.timeout(WAIT_S):
            while len(self.pings) < count:
                self.arrived.clear()
                await self.arrived.wait()


class Reports:
    """Receipts and waiters in one: reports by ping id."""

    channel = "channel-of-this-process"

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.waiting: dict[str, tuple[str, ...]] = {}
        self.finished: dict[str, Any] | None = None
        self.waited_s: list[float] = []
        self.ends: asyncio.Event | None = None  # given: waits last until `end_waits`

    async def report(self, ping_id: str) -> dict[str, Any] | None:
        return self.known.get(ping_id)

    async def page(
        self,
        state: str | None = None,
        limit: str | int | None = None,
        cursor: str | None = None,
        apps: frozenset[str] | None = None,
    ) -> dict[str, Any]:
        query = parse_query(frozenset({"queued", "done"}), state, limit, cursor)
        pings = [one for one in self.known.values() if is_visible(one.get("apps"), apps)]
        return {"pings": pings[: query.limit], "next_cursor": None}

    async def waiting_apps(self, ping_id: str) -> tuple[str, ...] | None:
        return self.waiting.get(ping_id)

    def waiting_for(self, ping_id: str) -> AbstractContextManager[Completion]:
        return nullcontext(Completion())

    async def outcome(
        self, ping_id: str, timeout_s: float, pending: Completion | None = None
    ) -> dict[str, Any] | None:
        self.waited_s.append(timeout_s)
        if self.ends is not None:
            await self.ends.wait()
        return None if self.finished is None else self.finished | {"ping_id": ping_id}

    def end_waits(self) -> None:
        if self.ends is not None:
            self.ends.set()


@dataclass
class House:
    """A running HTTP API, with the parts that a test reads or changes."""

    api: HttpApi
    services: Dependencies
    queue: RecordingQueue
    reports: Reports
    port: int
    missing: dict[str, str] = field(default_factory=dict)
    degraded: dict[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> str:
        """The metrics as Prometheus reads them."""
        return self.services.metrics.exposition().decode()

    def set(self, **changes: Any) -> None:
        """Swap settings, as a reload does: `limits={"body_bytes": 10}`."""
        settings = self.services.settings
        for name, values in changes.items():
            section = msgspec.structs.replace(getattr(settings, name), **values)
            settings = msgspec.structs.replace(settings, **{name: section})
        self.api.apply_settings(settings)


@contextlib.asynccontextmanager
async def house(
    redis: Redis,
    *,
    send_bytes: int | None = None,
    further_routes: FurtherRoutes = no_routes,
    **options: Any,
) -> AsyncIterator[House]:
    """Serve the HTTP API on a free port. `options` are those of `Dependencies`.

    Args:
        send_bytes: SO_SNDBUF of its connections: how many bytes of unread answers the kernel takes at most.
        further_routes: those of the console.
    """
    queue, reports = RecordingQueue(), Reports()
    missing, degraded = dict[str, str](), dict[str, str]()

    async def readiness() -> Readiness:
        return Readiness(missing, degraded)

    chosen: dict[str, Any] = {
        "settings": Settings(),
        "api_token": Secret(TOKEN),
        "owns_store": False,  # RhoConnect's hash: the strong one takes a fifth of a second
        "timeouts": HttpTimeouts(),
    }
    services = Dependencies(
        queue=queue,
        receipts=reports,
        ping_list=reports,
        completions=reports,
        redis=redis,
        readiness=readiness,
        metrics=Metrics(),
        **(chosen | options),
    )
    sock = socket.create_server(("127.0.0.1", 0))
    if send_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    port = sock.getsockname()[1]
    async with await open_http_api(services, sock, further_routes) as api:
        yield House(api, services, queue, reports, port, missing, degraded)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. Header names are in lower case; a repeated header's values are joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The inside of a JSON error."""
        assert self.headers["content-type"] == "application/json; charset=utf-8"
        found = self.json
        assert list(found) == ["error"]
        assert sorted(found["error"]) == ["code", "field", "message"]
        inside: dict[str, Any] = found["error"]
        return inside


class Wire:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def read_nothing(self) -> None:
        """Leave everything from now on in the socket, of which the reader would take some more."""
        cast("asyncio.ReadTransport", self.writer.transport).pause_reading()

    async def answer(self) -> Answer:
        """Read one answer; asyncio.IncompleteReadError where the connection ends before."""
        async with asyncio.timeout(WAIT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            headers: dict[str, str] = {}
            for line in lines:
                name, _, value = line.partition(": ")
                known = headers.get(name.lower())
                headers[name.lower()] = value if known is None else f"{known}, {value}"
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            return Answer(int(first.split()[1]), headers, body)

    async def until(self, part: bytes) -> bytes:
        """Everything up to the end of this part; asyncio.IncompleteReadError if the connection ends before."""
        async with asyncio.timeout(WAIT_S):
            return await self._reader.readuntil(part)

    async def rest(self) -> bytes:
        """Everything up to the connection's end."""
        async with asyncio.timeout(WAIT_S):
            return await self._reader.read()

    async def answers(self) -> list[Answer]:
        """All answers up to the connection's end."""
        found: list[Answer] = []
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                found.append(await self.answer())
        return found


@contextlib.asynccontextmanager
async def wire(port: int, *, receive_bytes: int | None = None) -> AsyncIterator[Wire]:
    """Connect.

    Args:
        port: on 127.0.0.1.
        receive_bytes: SO_RCVBUF: how many bytes of unread answers the kernel takes at most.
    """
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()  # whatever is unsent or unread
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(
    body: Any = b"",
    *,
    method: str = "POST",
    path: str = PING,
    token: str | None = TOKEN,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of a request. A body that is no bytes is sent as JSON; a header that is None is left out."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields: dict[str, str | None] = {
        "Host": "gateway",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        "X-RhoConnect-API-TOKEN": token,
    }
    fields |= headers or {}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + data


async def call(house: House, *args: Any, **options: Any) -> Answer:
    """One request on a connection of its own."""
    async with wire(house.port) as connection:
        connection.send(request(*args, **options))
        return await connection.answer()
