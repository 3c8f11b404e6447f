"""Request bodies: their length, their time, and the memory that they take in this process.

| caller | longest body, as sent and as decoded | time limit |
| --- | --- | --- |
| a valid API token in the header | `limits.body_bytes` | `HttpTimeouts.body_patience_s` |
| any other | `limits.unauthenticated_body_bytes` | `HttpTimeouts.unauthenticated_body_s` in all |

If Content-Length exceeds the smaller limit, the token is checked before the first byte is read; else once the body
exceeds that limit. `Expect: 100-continue` is answered only after these checks.

A route that consumes its body while it arrives (`HttpRoute.streams`) checks the token itself and has neither limit:
`StreamedBodyReader`.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import ClientError, HttpVersion11, hdrs, web

from gateway.errors import RequestTimeout
from gateway.http_api.admission import LATE
from gateway.http_api.aiohttp_handler import trust
from gateway.http_api.client_address import address_group, client_address
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.token_cache import TokenCache, is_valid
from gateway.limits.body_budget import BodyBudget, BodyReservation
from protocols.errors import BodyTooLarge, MalformedBody
from protocols.http1.content_encoding import decoder_of

API_HEADER: Final = "X-RhoConnect-API-TOKEN"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TURN_BYTES: Final = 262_144  # decoded bytes without a turn of the loop: about a millisecond


class BodyAdmission:
    """Decides how long a request's body may be.

    Args:
        services: the services behind the HTTP API.
        tokens: the cache of API tokens.
    """

    def __init__(self, services: Dependencies, tokens: TokenCache) -> None:
        self._services = services
        self._tokens = tokens

    @property
    def small(self) -> int:
        """The longest body of a caller without a valid token in the header."""
        limit = self._services.settings.limits.unauthenticated_body_bytes
        return min(limit, self.large, self._budget.max_body(authenticated=False))

    @property
    def large(self) -> int:
        """The longest body of a caller with a valid token in the header."""
        return min(self._services.settings.limits.body_bytes, self._budget.max_body(authenticated=True))

    @property
    def largest(self) -> int:
        """The most memory that a request of a caller with a valid token can take, in bytes."""
        return self._budget.max_body(authenticated=True)

    @property
    def _budget(self) -> BodyBudget:
        return self._services.bodies

    def known(self, request: web.Request) -> bool:
        """Return whether the token in the header is cached as valid, without a request to Redis."""
        return is_valid(self._tokens.lookup(request.headers.get(API_HEADER, ""), ""))

    async def admit(self, request: web.Request) -> None:
        """Refuse a body whose Content-Length is too long, before its first byte is read.

        Raises:
            BodyTooLarge: the body is too long for this caller.
            StoreDown: Redis does not answer whether the token is valid.
        """
        length = request.content_length or 0
        if length > self.small:
            await self.judge(request, length)

    async def judge(self, request: web.Request, length: int) -> None:
        """Admit a body of `length` bytes according to the token in the request's header. Raises as `admit`."""
        header = request.headers.get(API_HEADER, "")
        client = address_group(client_address(request))
        if not is_valid(await self._tokens.resolve(header, "", client)):
            raise BodyTooLarge(
                f"without a valid API token in the header {API_HEADER} a body must not exceed {self.small} bytes"
            )
        trust(request)
        if length > self.large:
            raise BodyTooLarge(f"a body must not exceed {self.large} bytes")


BODY_ADMISSION: Final = web.AppKey("admission", BodyAdmission)
BODY_RESERVATION: Final = web.RequestKey("holding", BodyReservation)


class BodyReader:
    """Reads and decodes one body, chunk by chunk.

    Args:
        request: the request.
        services: the services behind the HTTP API.
    """

    def __init__(self, request: web.Request, services: Dependencies) -> None:
        self._request = request
        self._admission = request.app[BODY_ADMISSION]
        self._times = services.timeouts
        self._reservation = request[BODY_RESERVATION]
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._received_bytes = 0
        self._decoded_bytes = 0
        self._limit = self._admission.small
        self._decoder = decoder_of(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        self._pieces: Iterator[bytes] = iter(())
        self._turn = 0

    async def begin(self) -> None:
        """Admit the body, and ask a client that sent `Expect` to send it.

        Raises:
            BodyTooLarge, StoreDown: as `BodyAdmission.admit`.
            BodiesFull: the body does not fit into `limits.bodies_bytes` at present.
        """
        request, length = self._request, self._request.content_length or 0
        if length > self._limit:
            await self._promote(length)
        elif self._admission.known(request):
            self._reservation.mark_authenticated()
            trust(request)
        self._reservation.reserve(length)
        await _send_continue(request)

    async def next(self) -> bytes:
        """Return the next chunk; b"" at the end.

        Raises:
            BodyTooLarge, BodiesFull, StoreDown: as `begin`; the length of a chunked or encoded body is not known
                before.
            TooSlow: the body exceeded its time limit.
            MalformedBody: the body is truncated, or its encoding does not match its headers.
        """
        piece = next(self._pieces, None)
        while piece is None:
            data = await self._came_next()
            self._received_bytes += len(data)
            await self._check(self._received_bytes)
            if not data:
                if self._decoder is not None:
                    self._decoder.finish()
                return b""
            self._pieces = iter((data,)) if self._decoder is None else self._decoder.feed(data)
            piece = next(self._pieces, None)
        await self._count(len(piece))
        return piece

    async def _came_next(self) -> bytes:
        timeouts = self._times
        patience_s = timeouts.body_patience_s(
            self._received_bytes, authenticated=self._reservation.authenticated
        )
        try:
            async with asyncio.timeout_at(self._since + patience_s):
                return await _read_any(self._request)
        except TimeoutError as error:
            raise RequestTimeout(LATE) from error

    async def _count(self, made: int) -> None:
        """Count decoded bytes against the limits."""
        self._decoded_bytes += made
        await self._check(self._decoded_bytes)
        self._reservation.reserve(self._decoded_bytes)
        self._turn += made
        if self._turn >= _TURN_BYTES:
            self._turn = 0
            await asyncio.sleep(0)

    async def _check(self, total: int) -> None:
        if total > self._limit:
            await self._promote(total)

    async def _promote(self, total: int) -> None:
        await self._admission.judge(self._request, total)
        self._reservation.mark_authenticated()
        self._limit = self._admission.large


class StreamedBodyReader:
    """Reads and decodes a body of any length, chunk by chunk. The route authenticates the caller and limits the time.

    Args:
        request: the request.

    Raises:
        UnsupportedCoding: the Content-Encoding is not supported.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._decoder = decoder_of(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        self._pieces: Iterator[bytes] = iter(())

    async def begin(self) -> None:
        """Ask a client that sent `Expect` to send the body."""
        await _send_continue(self._request)

    async def next(self) -> bytes:
        """Return the next chunk; b"" at the end. An available chunk is returned without a turn of the loop.

        Raises:
            MalformedBody: the body is truncated, or its encoding does not match its headers.
            BodyTooLarge: the decoded body is too large in relation to its encoded size.
        """
        piece = next(self._pieces, None)
        while piece is None:
            data = await _read_any(self._request)
            if not data:
                if self._decoder is not None:
                    self._decoder.finish()
                return b""
            self._pieces = iter((data,)) if self._decoder is None else self._decoder.feed(data)
            piece = next(self._pieces, None)
        return piece


async def _send_continue(request: web.Request) -> None:
    """Send `100 Continue` if the client waits for it."""
    if request.headers.get(hdrs.EXPECT) and request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the response itself has not begun


async def _read_any(request: web.Request) -> bytes:
    try:
        return await request.content.readany()
    except (web.RequestPayloadError, ClientError, ConnectionError) as error:
        # aiohttp's stream keeps its error, and the frames of a traceback would keep the chunks of the body.
        cause = error.with_traceback(None)
        raise MalformedBody("the body is truncated, or its encoding does not match its headers") from cause


async def read_body(request: web.Request, services: Dependencies) -> bytes:
    """Read a whole body. Raises as `BodyReader.begin` and `BodyReader.next`."""
    reader = BodyReader(request, services)
    await reader.begin()
    whole = bytearray()
    while piece := await reader.next():
        whole += piece
    return bytes(whole)
