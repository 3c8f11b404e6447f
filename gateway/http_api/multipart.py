"""Multipart forms (RFC 7578), read by aiohttp's streaming reader within limits.

| limit | value | source |
| --- | --- | --- |
| parts | `PARTS_MAX` | Rack's `multipart_total_part_limit` |
| bytes of a header line, header lines of a part | `HEADER_BYTES_MAX`, `HEADERS_MAX` | clients write two short ones |
| lines before the first part, and after each | `LINES_MAX` | clients write at most one empty line |
| bytes of a part's value | `protocols.ping.limits.VALUE_CHARACTERS` | the limit of each parameter |

A part that is multipart itself is refused: no client sends nested parts, and RFC 7578 §4.3 deprecates them.
"""

import asyncio
import re
from typing import Final

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.http_api.bodies import BodyReader
from protocols.errors import InvalidField, MalformedBody
from protocols.ping.limits import VALUE_CHARACTERS

PARTS_MAX: Final = 4_096
HEADER_BYTES_MAX: Final = 2_048
HEADERS_MAX: Final = 16
LINES_MAX: Final = 16
_BUFFER_BYTES: Final = 65_536
_VALUE_BYTES_MAX: Final = VALUE_CHARACTERS * 4  # UTF-8 has at most four bytes a character
_TURN_PARTS: Final = 8  # parts read without a turn of the loop: about a millisecond
_PARAMETER: Final = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)')  # RFC 7578 §4.2
_ESCAPED: Final = re.compile(r"\\(.)")
_READER_FAULTS: Final = (ValueError, RuntimeError, AssertionError, HttpProcessingError)
"""Errors that aiohttp's reader raises for a body that is not multipart."""

Pairs = list[tuple[str, bytes]]


async def pairs_of(request: web.Request, body: BodyReader) -> Pairs:
    """Return the names and values of a multipart form. A part without a plain `name` is skipped.

    Raises:
        MalformedBody: the body is not multipart, or exceeds a limit of this module.
        InvalidField: a value is too long.
        RhoPushError: other errors of `BodyReader.next`.
    """
    loop = asyncio.get_running_loop()
    flow = _FlowControl(loop)
    stream = _LimitedStream(flow, _BUFFER_BYTES, loop=loop)
    feeding = asyncio.create_task(_feed(body, stream, flow))
    try:
        return await _parts(request, stream)
    except _READER_FAULTS as error:
        raise MalformedBody("the multipart body is malformed") from error.with_traceback(None)
    finally:
        feeding.cancel()
        await asyncio.wait([feeding])
        if not feeding.cancelled():
            feeding.exception()  # the reader has raised this error
        # An error whose traceback refers to this frame must not be held by an object in it: that would be a cycle.
        stream.set_exception(ConnectionError())
        del feeding, stream, flow


class _FlowControl(BaseProtocol):
    """Flow control: the feeder waits while the reader has enough data."""

    __slots__ = ("wanted",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.wanted = asyncio.Event()
        self.wanted.set()

    @property
    def connected(self) -> bool:
        """True: the stream ends by `feed_eof` or an exception, never by a lost connection."""
        return True

    def pause_reading(self) -> None:
        """Stop the feeder."""
        self.wanted.clear()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume the feeder."""
        self.wanted.set()


class _LimitedStream(StreamReader):
    """A stream with a limited number of lines: each line costs as much as that of a part."""

    left = LINES_MAX

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """Return a line of headers, of a boundary, or around them."""
        self.left -= 1
        if self.left < 0:
            raise MalformedBody("the multipart body has too many lines outside of its parts")
        return await super().readline(max_line_length=max_line_length or HEADER_BYTES_MAX)


class _FormReader(MultipartReader):
    """The reader of aiohttp, without its parser of Content-Disposition, which warns about every irregularity."""

    disposition = ""

    async def fetch_next_part(self) -> MultipartReader | BodyPartReader:
        """Return the next part; its Content-Disposition is in `disposition`."""
        part = await super().fetch_next_part()
        headers = CIMultiDict(part.headers)
        self.disposition = headers.get(hdrs.CONTENT_DISPOSITION, "")
        headers.popall(hdrs.CONTENT_DISPOSITION, None)
        part.headers = CIMultiDictProxy(headers)
        return part


async def _feed(body: BodyReader, stream: StreamReader, flow: _FlowControl) -> None:
    try:
        while piece := await body.next():
            for start in range(0, len(piece), _BUFFER_BYTES):
                await flow.wanted.wait()
                stream.feed_data(piece[start : start + _BUFFER_BYTES])
    except Exception as error:
        stream.set_exception(error)
        raise
    stream.feed_eof()


async def _parts(request: web.Request, stream: _LimitedStream) -> Pairs:
    reader = _FormReader(
        request.headers,
        stream,
        client_max_size=_VALUE_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
        max_headers=HEADERS_MAX,
        max_size_error_cls=_TooLong,
    )
    found: Pairs = []
    count = 0
    while (part := await reader.next()) is not None:
        count += 1
        if count > PARTS_MAX:
            raise MalformedBody(f"the multipart body has more than {PARTS_MAX} parts")
        if not isinstance(part, BodyPartReader):
            raise MalformedBody("a part of the multipart body is multipart itself")
        stream.left = LINES_MAX + HEADERS_MAX
        name = _name(reader.disposition)
        value = await _value(part, name)
        if name:
            found.append((name, value))
        if count % _TURN_PARTS == 0:
            await asyncio.sleep(0)
    return found


class _TooLong(Exception):
    """A value exceeds the limit of parameters."""


async def _value(part: BodyPartReader, name: str) -> bytes:
    try:
        return bytes(part.decode(await part.read()))
    except _TooLong:
        raise InvalidField(f"{name} may have at most {_VALUE_BYTES_MAX} bytes", field=name) from None


def _name(disposition: str) -> str:
    """Return the `name` of a Content-Disposition; "" if there is none."""
    for match in _PARAMETER.finditer(disposition):
        if match[1].lower() == "name":
            value = match[2].strip()
            name = _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise MalformedBody("a name in the multipart body is not UTF-8") from error
            return name
    return ""
