"""Multipart forms (RFC 7578), read by aiohttp's streaming reader within limits.

| limit | value | source |
| --- | --- | --- |
| parts | `PARTS_MAX` | Rack's `multipart_total_part_limit` |
| bytes of a header line, header lines of a part | `HEADER_BYTES_MAX`, `HEADERS_MAX` | clients write two short ones |
| lines before the first part, and after each | `LINES_MAX` | clients write one empty line at most |
| bytes of a part's value | `protocols.ping.limits.VALUE_CHARACTERS` | no parameter may have more |

A part that is multipart itself is refused: no client sends one, and RFC 7578 §4.3 deprecates it.
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
"""What aiohttp's reader raises for a body that is no multipart."""

Pairs = list[tuple[str, bytes]]


async def pairs_of(request: web.Request, body: BodyReader) -> Pairs:
    """The names and values of a multipart form. A part without a plain `name` is none of them.

    Raises:
        MalformedBody: it is none, or over a limit of this module.
        InvalidField: a value is too long.
        others: as `BodyReader.next`.
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
            feeding.exception()  # the reader has raised it
        # An error whose traceback names this frame must not be held by anything in it: that would be a cycle.
        stream.set_exception(ConnectionError())
        del feeding, stream, flow


class _FlowControl(BaseProtocol):
    """Lets the feeder wait while the reader has enough."""

    __slots__ = ("wanted",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.wanted = asyncio.Event()
        self.wanted.set()

    @property
    def connected(self) -> bool:
        """The stream ends by `feed_eof` or an exception, never by a lost connection."""
        return True

    def pause_reading(self) -> None:
        """The reader has enough."""
        self.wanted.clear()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """It wants more."""
        self.wanted.set()


class _LimitedStream(StreamReader):
    """A stream that gives so many lines and no more: each costs as much as a part's."""

    left = LINES_MAX

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """One line of headers, of a boundary, or around them."""
        self.left -= 1
        if self.left < 0:
            raise MalformedBody("the multipart body has too many lines outside of its parts")
        return await super().readline(max_line_length=max_line_length or HEADER_BYTES_MAX)


class _FormReader(MultipartReader):
    """aiohttp's reader, without its own reading of Content-Disposition, which warns about every oddity."""

    disposition = ""

    async def fetch_next_part(self) -> MultipartReader | BodyPartReader:
        """The next part; its Content-Disposition is in `disposition`."""
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
    """A value is longer than any parameter may be."""


async def _value(part: BodyPartReader, name: str) -> bytes:
    try:
        return bytes(part.decode(await part.read()))
    except _TooLong:
        raise InvalidField(f"{name} may have at most {_VALUE_BYTES_MAX} bytes", field=name) from None


def _name(disposition: str) -> str:
    """The `name` of a Content-Disposition; "" where it has none."""
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
