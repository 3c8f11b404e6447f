"""Request bodies: who may send how much, in which time, and what the process holds of them.

| caller | longest body, as sent and as decoded | time for it |
| --- | --- | --- |
| a valid API token in the header | `limits.body_bytes` | `Times.body_s`, and what came at `Times.body_bytes_per_s` |
| every other | `limits.unauthenticated_body_bytes` | `Times.unjudged_body_s` in all |

The token is judged before a byte is read where Content-Length is over the smaller limit, else as soon as the body
grows beyond it. `Expect: 100-continue` is answered only once the body may come.

A route that uses its body as it comes (`HttpRoute.streams`) judges the token itself and has neither limit:
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
from gateway.http_api.content_encoding import decoder_of
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.token_cache import TokenCache
from gateway.limits.body_budget import BodyBudget, BodyReservation
from gateway.registry.accounts import TokenRole
from protocols.errors import BodyTooLarge, MalformedBody

API_HEADER: Final = "X-RhoConnect-API-TOKEN"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_TURN_BYTES: Final = 262_144  # decoded without a turn of the loop: about a millisecond


class BodyAdmission:
    """Decides how long a request's body may be.

    Args:
        services: what lies behind the doors.
        tokens: judges API tokens.
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
        """The longest body of a caller with one."""
        return min(self._services.settings.limits.body_bytes, self._budget.max_body(authenticated=True))

    @property
    def largest(self) -> int:
        """The most bytes that a request of a caller with one could ever hold."""
        return self._budget.max_body(authenticated=True)

    @property
    def _budget(self) -> BodyBudget:
        return self._services.bodies

    def known(self, request: web.Request) -> bool:
        """Whether the token in the header is known to be valid, without a question to Redis."""
        return self._tokens.lookup(request.headers.get(API_HEADER, ""), "") is TokenRole.ADMIN

    async def admit(self, request: web.Request) -> None:
        """Refuse a body that is too long by its Content-Length, before a byte of it is read.

        Raises:
            BodyTooLarge: it is.
            StoreDown: Redis does not answer whether the token is valid.
        """
        length = request.content_length or 0
        if length > self.small:
            await self.judge(request, length)

    async def judge(self, request: web.Request, length: int) -> None:
        """Let a body of so many bytes through, by the token in the request's header. Raises as `admit`."""
        header = request.headers.get(API_HEADER, "")
        client = address_group(client_address(request))
        if await self._tokens.resolve(header, "", client) is not TokenRole.ADMIN:
            raise BodyTooLarge(
                f"without a valid API token in the header {API_HEADER} a body may have at most {self.small} bytes"
            )
        trust(request)
        if length > self.large:
            raise BodyTooLarge(f"a body may have at most {self.large} bytes")


BODY_ADMISSION: Final = web.AppKey("admission", BodyAdmission)
BODY_RESERVATION: Final = web.RequestKey("holding", BodyReservation)


class BodyReader:
    """Reads one body, piece by piece, decoded.

    Args:
        request: its request.
        services: what lies behind the doors.
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
        """Make sure that the body may come, and let it come.

        Raises:
            BodyTooLarge, StoreDown: as `BodyAdmission.admit`.
            BodiesFull: it does not fit into `limits.bodies_bytes` now.
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
        """The next piece; b"" at the end.

        Raises:
            BodyTooLarge, BodiesFull, StoreDown: as `begin`: chunked or encoded, the length is not known before.
            TooSlow: it did not come in time.
            MalformedBody: it is cut off, or not encoded as it says.
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
        """Count decoded bytes."""
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
    """Reads a body of any length, piece by piece, decoded. Its caller is known, and bounds the time.

    Args:
        request: its request.

    Raises:
        UnsupportedCoding: the Content-Encoding is none that can be decoded.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._decoder = decoder_of(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        self._pieces: Iterator[bytes] = iter(())

    async def begin(self) -> None:
        """Let the body come."""
        await _send_continue(self._request)

    async def next(self) -> bytes:
        """The next piece; b"" at the end. Without a pause where a piece is there.

        Raises:
            MalformedBody: it is cut off, or not encoded as it says.
            BodyTooLarge: it unpacks to too much.
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
    """Let a body come whose sender waits for that."""
    if request.headers.get(hdrs.EXPECT) and request.version >= HttpVersion11:
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0  # the answer itself has not begun


async def _read_any(request: web.Request) -> bytes:
    try:
        return await request.content.readany()
    except (web.RequestPayloadError, ClientError, ConnectionError) as error:
        # aiohttp's stream keeps its error, and the frames of a traceback would keep what came of the body.
        cause = error.with_traceback(None)
        raise MalformedBody("the body is cut off, or not encoded as its headers say") from cause


async def read_body(request: web.Request, services: Dependencies) -> bytes:
    """Read a whole body. Raises as `BodyReader.begin` and `BodyReader.next`."""
    reader = BodyReader(request, services)
    await reader.begin()
    whole = bytearray()
    while piece := await reader.next():
        whole += piece
    return bytes(whole)
