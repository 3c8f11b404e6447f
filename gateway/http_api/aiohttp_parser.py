"""aiohttp's request parser with what it lacks: an end for a body that breaks, and a limit of a whole head.

aiohttp's parser leaves the body of a request open when a later piece of it is malformed, and at the end of the stream:
its reader would wait for ever. Its limits are those of one header line; the number of lines alone bounds a head.
"""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, InvalidURLError, LineTooLong

from gateway.errors import HeadTooLarge
from gateway.http_api.request_head import HEAD_BYTES
from protocols.errors import InputError

HEADERS_MAX: Final = 1_024
"""Header lines of one head; few are long, and a head has `HEAD_BYTES`."""
_LINE_OVERHEAD: Final = 3  # ":" and CRLF
_NOTHING: Final = ((), False, b"")  # no messages, not upgraded, nothing left
_PROBE_PATH: Final = "/the-stream-has-ended"
_PROBE: Final = f"GET {_PROBE_PATH} HTTP/1.0\r\n\r\n".encode()
_CUT_OFF: Final = "the request is cut off"
_TOO_LARGE: Final = (
    f"a request's line and headers may have at most {HEAD_BYTES} bytes and {HEADERS_MAX} headers"
)
# What aiohttp's messages begin with. They are not quoted: they hold bytes of the request.
_CAUSES: Final = (
    ("Missing 'Host'", "an HTTP/1.1 request must have a Host header"),
    ("Duplicate '", "a header that a request has at most once came twice"),
    ("Received HTTPS", "this port speaks HTTP, and this is TLS"),
    ("Invalid character in chunk", "a chunk of the body is malformed"),
    ("Expected LF after chunk", "a chunk of the body is malformed"),
    (_CUT_OFF, _CUT_OFF),
)


class MalformedRequest(InputError):
    """What was sent is no HTTP/1.1 request."""

    code = "malformed_request"
    label = "malformed_request"


class RequestParser:
    """The parser of one connection.

    Args:
        parser: aiohttp's.
        paused: whether the parser keeps bytes that it has not parsed, until something is read.
    """

    def __init__(self, parser: Any, paused: Callable[[], bool]) -> None:
        self._parser = parser
        self._paused = paused
        self._body: StreamReader | None = None  # of the last request
        self._head = 0  # bytes of a head that is not whole
        self._ended = False
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        """Parse a piece of the stream, as aiohttp's parser does.

        Raises:
            HttpProcessingError: it is malformed, or the head is too large. What comes later is dropped.
        """
        if self._broken:
            return _NOTHING
        if self._ended and not self._paused():
            return self._end()
        in_body = self._in_body
        try:
            found = self._parser.feed_data(data)
            if found[0]:
                self._body, self._head = found[0][-1][1], 0
            elif not in_body and not self._paused() and (self._head or data.strip(b"\r\n")):
                self._head += len(data)
            if self._head > HEAD_BYTES:
                raise LineTooLong(b"", HEAD_BYTES)
        except HttpProcessingError:
            self._broken = True
            self._break_body()
            raise
        return found

    def end(self) -> None:
        """Note the end of the stream: the next `feed_data` raises for a head that is cut off."""
        self._ended = True
        self._break_body()

    @property
    def _in_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    def _end(self) -> Any:
        """Raise HttpProcessingError where the stream ended within a head: there a whole request is not read as one."""
        self._broken = True
        if self._in_body:
            return _NOTHING
        try:
            messages = self._parser.feed_data(_PROBE)[0]
        except HttpProcessingError:
            messages = ()
        if [message.path for message, _ in messages] != [_PROBE_PATH]:
            raise HttpProcessingError(code=400, message=_CUT_OFF)
        return _NOTHING

    def _break_body(self) -> None:
        body = self._body
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("the body is cut off or malformed"))


def refusal_of(error: BaseException | None) -> InputError:
    """Say why aiohttp's parser refused a request, without an echo of its bytes."""
    message = error.message if isinstance(error, HttpProcessingError) else ""
    if isinstance(error, LineTooLong) or message.startswith("Too many headers"):
        return HeadTooLarge(_TOO_LARGE)
    for begins, cause in _CAUSES:
        if message.startswith(begins):
            return MalformedRequest(f"this is no HTTP/1.1 request: {cause}")
    if isinstance(error, InvalidURLError):
        return MalformedRequest("this is no HTTP/1.1 request: the target must be ASCII, percent-encoded")
    if isinstance(error, BadHttpMethod):
        return MalformedRequest(
            "this is no HTTP/1.1 request: the method is unknown (methods are in upper case)"
        )
    return MalformedRequest("this is no HTTP/1.1 request")


def check_head(request: web.BaseRequest) -> None:
    """Check the size of a whole head, which the parser bounds line by line.

    Raises:
        HeadTooLarge: it has more than `HEAD_BYTES`.
    """
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n\r\n")
    fields = sum(len(name) + len(value) + _LINE_OVERHEAD for name, value in request.raw_headers)
    if line + fields > HEAD_BYTES:
        raise HeadTooLarge(_TOO_LARGE)
