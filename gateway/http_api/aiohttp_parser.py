"""A second parser of aiohttp's input that finds the boundaries of requests and the reasons for refusals.

aiohttp's parser leaves the body of a request open when a later chunk of it is malformed, and at the end of the stream:
its reader would wait without end. Its limits apply to one header line; only the number of lines bounds a head. The
parser of a connection is private to aiohttp, so a second parser of the same class reads the same bytes here: it finds
the same faults in the same call, and its bodies are discarded.
"""

import asyncio
import contextlib
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from gateway.errors import HeadTooLarge
from protocols.errors import InputError
from protocols.http1.request_head import HEAD_BYTES

HEADERS_MAX: Final = 1_024
"""Largest number of header lines of one head. The head as a whole is limited by `HEAD_BYTES`."""
_LINE_OVERHEAD: Final = 3  # ":" and CRLF
_NEVER_FULL: Final = 2**30  # buffered bytes of a body: each chunk is discarded at once
_PROBE_PATH: Final = "/the-stream-has-ended"
_PROBE: Final = f"GET {_PROBE_PATH} HTTP/1.0\r\n\r\n".encode()
_CUT_OFF: Final = "the request is truncated"
_TOO_LARGE: Final = (
    f"the request line and headers must not exceed {HEAD_BYTES} bytes and {HEADERS_MAX} headers"
)
# Beginnings of aiohttp's messages. The messages are not quoted: they contain bytes of the request.
_CAUSES: Final = (
    ("Missing 'Host'", "an HTTP/1.1 request must have a Host header"),
    ("Duplicate '", "a header that must be unique occurs twice"),
    ("Received HTTPS", "the client sent TLS to a port that serves plain HTTP"),
    ("Invalid character in chunk", "a chunk of the body is malformed"),
    ("Expected LF after chunk", "a chunk of the body is malformed"),
    (_CUT_OFF, _CUT_OFF),
)


class MalformedRequest(InputError):
    """The input is not an HTTP/1.1 request."""

    code = "malformed_request"
    label = "malformed_request"


BROKEN: Final = b"\x00\r\n\r\n"
"""Bytes at which a parser refuses any head: no head contains NUL (RFC 9112 §2.2, RFC 9110 §5.5)."""


class RequestTracker:
    """Finds the boundaries of the requests of one connection.

    Attributes:
        heads: number of requests with a complete head.
        cause: reason why no further request is read; None: further requests are read.
        hidden: whether aiohttp's own parser does not find this cause.
    """

    __slots__ = ("_body", "_ended", "_head", "_parser", "cause", "heads", "hidden")

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(
            BaseProtocol(loop),
            loop,
            _NEVER_FULL,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            max_headers=HEADERS_MAX,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
        )
        self._body: StreamReader | None = None  # of the last request, while it is incomplete
        self._head = 0  # bytes of an incomplete head
        self._ended = False
        self.heads = 0
        self.cause: HttpProcessingError | None = None
        self.hidden = False

    @property
    def in_body(self) -> bool:
        """Whether the body of the last request is incomplete. If `cause` is set, it stays incomplete."""
        return self._body is not None

    def feed(self, data: bytes) -> None:
        """Parse more data. Malformed bytes and an oversized head set `cause`."""
        if self.cause is not None:
            return
        in_body = self.in_body
        found = False
        try:
            found = self._read(data)
        except HttpProcessingError as error:
            self.cause = error
        self._drop_body()
        if found:
            self._head = 0
        elif not in_body and (self._head or data.strip(b"\r\n")):
            self._head += len(data)
        if self._head > HEAD_BYTES and self.cause is None:
            self.cause, self.hidden = LineTooLong(b"", HEAD_BYTES), True

    def _read(self, data: bytes) -> bool:
        """Parse a chunk of the stream, and return whether it contained the end of a head."""
        found = False
        while data:
            messages, upgraded, data = self._parser.feed_data(data)
            if messages:
                self.heads += len(messages)
                self._body = messages[-1][1]
                found = True
            if upgraded:  # no upgrade is granted: further requests follow
                self._parser.set_upgraded(False)
        return found

    def _drop_body(self) -> None:
        body = self._body
        if body is not None:
            if body.is_eof():
                self._body = None
            else:
                body.read_nowait()

    def end(self) -> None:
        """Note the end of the stream, which is an error within a request. (uvloop reports it repeatedly.)"""
        if self._ended or self.cause is not None:
            return
        self._ended = True
        if not self.in_body:
            with contextlib.suppress(HttpProcessingError):
                messages, _, _ = self._parser.feed_data(_PROBE)
                if [message.path for message, _ in messages] == [_PROBE_PATH]:
                    return
        self.cause, self.hidden = HttpProcessingError(code=400, message=_CUT_OFF), True


def refusal_of(error: BaseException | None) -> InputError:
    """Return the reason why aiohttp's parser refused a request, without an echo of its bytes."""
    message = error.message if isinstance(error, HttpProcessingError) else ""
    if isinstance(error, LineTooLong) or message.startswith("Too many headers"):
        return HeadTooLarge(_TOO_LARGE)
    for begins, cause in _CAUSES:
        if message.startswith(begins):
            return MalformedRequest(f"the request is not valid HTTP/1.1: {cause}")
    if isinstance(error, InvalidURLError):
        return MalformedRequest(
            "the request is not valid HTTP/1.1: the target must be ASCII, percent-encoded"
        )
    if isinstance(error, BadHttpMethod):
        return MalformedRequest(
            "the request is not valid HTTP/1.1: the method is unknown (methods are in upper case)"
        )
    return MalformedRequest("the request is not valid HTTP/1.1")


def check_head(request: web.BaseRequest) -> None:
    """Check the size of a complete head, which aiohttp's parser limits line by line.

    Raises:
        HeadTooLarge: the head exceeds `HEAD_BYTES`.
    """
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n\r\n")
    fields = sum(len(name) + len(value) + _LINE_OVERHEAD for name, value in request.raw_headers)
    if line + fields > HEAD_BYTES:
        raise HeadTooLarge(_TOO_LARGE)
