"""Whole servers in this process, over sockets: what comes back is never a 500, and comes back.

Each input is one connection: the bytes of one or more requests, then the client's end of stream.
"""

import asyncio
import contextlib
import gzip
import logging
import re
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from gateway.rhoconnect_push import PushTimeouts
from tests.fuzz.target import Open, Step, Target
from tests.fuzz.targets.pings import BASIC, FORM_SEEDS, JSON_SEEDS, WORDS
from tests.fuzz.targets.rhoconnect_push import COOKIES, HTTP_WORDS, LINES, MESSAGES, REQUESTS
from tests.gateway.http_api.harness import TOKEN
from tests.gateway.http_api.harness import house as http_api_house
from tests.gateway.rhoconnect_push.harness import SESSION
from tests.gateway.rhoconnect_push.harness import house as rhoconnect_push_house
from tests.support.redis import RedisServer, store_client

ANSWER_S: Final = 60.0
"""An answer that takes longer is a hang: no request here has anything to wait for but the processor."""
_IDLE_CHECK_S: Final = 0.002
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d\d\d) ")
_FAILED: Final = re.compile(rb'HTTP/1\.[01] 500 [^\x00]*?(?:"code":"internal"|Server got itself in trouble)')
Ask = Callable[[bytes], Coroutine[Any, Any, None]]


class Complaints(logging.Handler):
    """Log records of level error: an unnoticed 500, or a task or callback that failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the standard library's loggers."""
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.getMessage()} {error!r}")

    def structured(self, _logger: Any, method: str, event: Any) -> Any:
        """Keep an event of the gateway's own log."""
        if method in ("error", "exception", "critical"):
            self.found.append(str(event))
        raise structlog.DropEvent

    def in_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what a loop says of callbacks and tasks."""
        self.found.append(f"{context.get('message')} {context.get('exception')!r}")

    def check(self) -> None:
        """Raise what was found since the last check."""
        found, self.found = self.found, []
        assert not found, "; ".join(found)[:2_000]


@contextmanager
def _listening() -> Iterator[Complaints]:
    complaints = Complaints()
    structlog.configure(processors=[complaints.structured])
    logging.getLogger().addHandler(complaints)
    try:
        yield complaints
    finally:
        logging.getLogger().removeHandler(complaints)
        structlog.reset_defaults()


def served(serve: Callable[[Redis, str], AbstractAsyncContextManager[Ask]]) -> Open:
    @contextmanager
    def opened() -> Iterator[Step]:
        with RedisServer("valkey") as server, _listening() as complaints, asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(complaints.in_loop)
            around = contextlib.AsyncExitStack()
            redis: Redis = store_client(server.socket)
            runner.run(around.enter_async_context(redis))
            ask = runner.run(around.enter_async_context(serve(redis, server.address)))

            def step(data: bytes) -> None:
                runner.run(ask(data))
                complaints.check()

            try:
                yield step
            finally:
                runner.run(around.aclose())

    return opened


async def exchange(port: int, data: bytes, done: Callable[[], bool]) -> bytes:
    """Send everything, end the stream, and read until the server ends it too, or until nothing can come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        reading = asyncio.ensure_future(reader.read())
        writer.write(data)
        with contextlib.suppress(OSError):  # refused before the last piece
            writer.write_eof()
        async with asyncio.timeout(ANSWER_S):
            while not (await asyncio.wait({reading}, timeout=_IDLE_CHECK_S))[0] and not done():
                pass
        if not reading.done():
            reading.cancel()
            return b""
        try:
            return reading.result()
        except ConnectionResetError:  # the rest of a refused body met a closed socket
            return b""
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def judge(answer: bytes) -> None:
    assert not _FAILED.search(answer), answer[:1_000]
    statuses = [int(status) for status in _STATUS.findall(answer)]
    assert all(100 <= status < 600 for status in statuses)


@asynccontextmanager
async def _http_api(redis: Redis, _address: str) -> AsyncIterator[Ask]:
    async with http_api_house(redis) as house:

        async def ask(data: bytes) -> None:
            judge(await exchange(house.port, data, lambda: False))
            house.queue.pings.clear()
            house.queue.keys.clear()
            house.queue.sizes.clear()

        yield ask


@asynccontextmanager
async def _push(redis: Redis, address: str) -> AsyncIterator[Ask]:
    async with rhoconnect_push_house(
        redis, address, times=PushTimeouts(wait_s=0, request_s=2, idle_s=2)
    ) as house:

        def waits() -> bool:
            return bool(len(house.service.polls)) and not house.service.polls.asking

        async def ask(data: bytes) -> None:
            answer = await exchange(house.port, data, waits)
            assert b"HTTP/1.1 500" not in answer, answer[:1_000]
            house.judge.asked.clear()

        yield ask


def _request(target: str, body: bytes, kind: str, *more: str, token: str | None = TOKEN) -> bytes:
    method = "" if target.startswith(("GET ", "DELETE ", "PUT ", "POST ")) else "POST "
    lines = [f"{method}{target} HTTP/1.1", "Host: gateway", f"Content-Length: {len(body)}", *more]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"X-RhoConnect-API-TOKEN: {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode() + body


_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_PING: Final = "/rc/v1/users/ping"
_PART: Final = (
    b'--b\r\nContent-Disposition: form-data; name="user_id"\r\n\r\nbob\r\n'
    b'--b\r\nContent-Disposition: form-data; name="badge"\r\nContent-Type: text/plain\r\n\r\n5\r\n--b--\r\n'
)
_CHUNKED: Final = (
    f"POST {_PING} HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nContent-Type: {_JSON}\r\n"
    f'X-RhoConnect-API-TOKEN: {TOKEN}\r\n\r\n7\r\n{{"user_i\r\n8;x=y\r\nd":"bob"\r\n1\r\n}}\r\n0\r\nT: t\r\n\r\n'
).encode()
_ROUTES: Final = (
    *("GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json", "GET /rc/v1/pings/" + "0" * 32),
    *("GET /rc/v1/users", "GET /rc/v1/users/bob", "GET /rc/v1/users/bob/clients", "DELETE /rc/v1/users/bob"),
    *(
        "GET /rc/v1/clients/c1",
        "DELETE /rc/v1/clients/c1",
        "GET /rc/v1/app/rps_login",
        "GET /api/ping?user_id=a",
    ),
)
_LOGIN: Final = b'{"login":"rhoadmin","password":"x"}'
API_SEEDS: Final = (
    *(_request(_PING, body, _JSON) for body in JSON_SEEDS),
    *(_request(_PING, body, _FORM) for body in FORM_SEEDS),
    _request(_PING, _PART, "multipart/form-data; boundary=b"),
    _request(_PING, gzip.compress(JSON_SEEDS[1], mtime=0), _JSON, "Content-Encoding: gzip"),
    _request(_PING, zlib.compress(JSON_SEEDS[1]), _JSON, "Content-Encoding: deflate"),
    _request(_PING + "?user_id=a&message=b", b"", ""),
    _request("/api/ping", b"user_id=a&api_token=" + TOKEN.encode(), _FORM, token=None),
    _request(_PING, b'{"user_id":"a","api_token":"wrong"}', _JSON, token="x"),
    _CHUNKED,
    _request(_PING, JSON_SEEDS[1], _JSON, "Idempotency-Key: one", "Prefer: return=representation"),
    _request("/rc/v1/system/login", _LOGIN, _JSON, token=None),
    _request("/rc/v1/app/login", _LOGIN, _JSON, token=None),
    _request("/rc/v1/users", b'{"attributes":{"login":"bob","password":"x"}}', _JSON),
    _request("/rc/v1/clients", b'{"device_type":"APPLE"}', _JSON, "Cookie: rhoconnect_session=a--b"),
    _request("/rc/v1/clients/c1/register", b"device_pin=x&device_type=ANDROID", _FORM, "Cookie: a=b; c"),
    *(_request(route, b"", "", "Authorization: " + BASIC.decode()) for route in _ROUTES),
)
API_WORDS: Final = (
    *WORDS,
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"--b",
        b"--b--",
    ),
    *(
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br\r\n",
        b"Expect: 100-continue\r\n",
        b"name*=utf-8''x",
    ),
    *(
        b"Content-Type: multipart/form-data; boundary=b\r\n",
        b"multipart/mixed; boundary=c",
        b"; charset=x",
        b"[]",
    ),
    *(
        b"Cookie: rhoconnect_session=x\r\n",
        b"Prefer: wait=5\r\n",
        b"rhoconnect_session=",
        b"api_token=",
        b"%ff",
        b"&",
    ),
)
_DEVICE: Final = f"Cookie: {COOKIES}; {SESSION}\r\nAuthorization: {BASIC.decode()}\r\n"
PUSH_SEEDS: Final = (
    *REQUESTS,
    *(line + f" HTTP/1.1\r\nHost: p\r\n{_DEVICE}Content-Length: 0\r\n\r\n".encode() for line in LINES),
    *(
        LINES[-1]
        + f" HTTP/1.1\r\nHost: p\r\n{_DEVICE}Content-Type: {_JSON}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for body in MESSAGES
    ),
)
_SOCKET_S: Final = 0.5
"""Two ends of a connection, a server's log and Redis' replies are in one thread here."""
TARGETS: Final = (
    Target("http-server", served(_http_api), API_SEEDS, API_WORDS, base_s=_SOCKET_S, byte_s=1e-5, weight=6.0),
    Target("rps-server", served(_push), PUSH_SEEDS, HTTP_WORDS, base_s=_SOCKET_S, byte_s=1e-5, weight=3.0),
)
