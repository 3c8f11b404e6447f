"""HTTP heads: whatever the fast path takes, aiohttp understands in the same way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from gateway.http_api.aiohttp_parser import HEADERS_MAX
from protocols.http1.request_head import BODY_BYTES, HEAD_BYTES, RequestHeadParser, may_be_ping
from tests.fuzz.target import Step, Target

HEAD: Final = (
    b"POST /rc/v1/users/ping HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    b"X-RhoConnect-API-TOKEN: a-token\r\nContent-Length: 25\r\n\r\n"
)
LINES: Final = (
    *(
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: Upgrade\r\n",
        b"Upgrade: h2c\r\n",
    ),
    *(
        b"Content-Length: 7\r\n",
        b"Content-Length: +7\r\n",
        b"content-length:07\r\n",
        b"Content-Length : 7\r\n",
    ),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"TE: trailers\r\n"),
    *(b"Expect: 100-continue\r\n", b"Prefer: return=representation\r\n", b"Idempotency-Key: one\r\n"),
    *(
        b"Content-Encoding: gzip\r\n",
        b"Host: other\r\n",
        b"X-Folded: a\r\n b\r\n",
        b"X-Empty:\r\n",
        b": x\r\n",
    ),
    *(
        b"X-RhoConnect-API-TOKEN: other\r\n",
        b"x-rhoconnect-api-token:\ta \r\n",
        b"Content-Type: text/plain\r\n",
    ),
    *(b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"HTTP/1.0", b"HTTP/2.0", b"GET", b"?message=x", b"%2f"),
)
SEEDS: Final = (
    HEAD,
    HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    HEAD.replace(b"\r\n\r\n", b"\r\nIdempotency-Key: a-key\r\nUser-Agent: ruby\r\nAccept: */*\r\n\r\n"),
    HEAD.replace(b"application/json", b"application/json; charset=utf-8"),
    b"POST /rc/v1/users/ping HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
)


@contextmanager
def _both() -> Iterator[Step]:
    loop = asyncio.new_event_loop()
    heads = RequestHeadParser(BODY_BYTES)

    def step(data: bytes) -> None:
        may_be_ping(data)
        head = heads.read(data)
        if head is None:
            return
        message = _as_aiohttp(data, loop)
        known = message.headers
        length = int(known["Content-Length"])
        token, key = known.get("X-RhoConnect-API-TOKEN", ""), known.get("Idempotency-Key")
        assert (message.method, message.path) == ("POST", "/rc/v1/users/ping")
        assert (head.length, head.token, head.key) == (length, token, key)
        assert head.close == message.should_close
        assert not (message.chunked or message.upgrade or message.compression)

    try:
        yield step
    finally:
        loop.close()


def _as_aiohttp(data: bytes, loop: asyncio.AbstractEventLoop) -> Any:
    parser = HttpRequestParser(
        BaseProtocol(loop),
        loop,
        2**16,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADERS_MAX,
    )
    try:
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError as error:
        raise AssertionError("aiohttp refuses a head that the fast path takes") from error
    assert len(messages) == 1, "aiohttp reads no head, or more than one, where the fast path takes one"
    return messages[0][0]


TARGETS: Final = (Target("http-heads", _both, SEEDS, LINES, largest=16_384),)
