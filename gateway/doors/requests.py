"""What the aiohttp routes read of a request, and how they answer it."""

import asyncio
import contextlib
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import ClientError, HttpVersion11, hdrs, web

from gateway.doors import answers
from gateway.doors.answers import response
from gateway.doors.handed import Handed, MalformedRequest
from gateway.doors.intake import LATE
from gateway.doors.services import Services
from gateway.errors import TooSlow
from protocols.errors import BodyTooLarge, InvalidField, MalformedBody
from protocols.json_syntax import find_fault
from protocols.ping import form

API_HEADER: Final = "X-RhoConnect-API-TOKEN"
_FORMS: Final = ("", "application/x-www-form-urlencoded")
_MULTIPART: Final = "multipart/form-data"
_decode: Final = msgspec.json.Decoder().decode


def refuse_unclear(request: web.Request) -> None:
    """Let no request through whose end another reader could see elsewhere (RFC 9112 §6.1, §11.2).

    What the parser lets pass: an empty coding, which it overlooks; codings besides chunked; chunks from HTTP/1.0;
    CONNECT, after whose head it begins the next request, whatever its length says.

    Raises:
        MalformedRequest: it is one of these. The connection must end with the answer.
    """
    headers = request.headers
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    clear = coding is None or (
        coding.strip().lower() == "chunked"
        and hdrs.CONTENT_LENGTH not in headers
        and request.version >= HttpVersion11
    )
    if not clear or request.method == hdrs.METH_CONNECT:
        raise MalformedRequest("it is not clear where this request ends")


async def read_body(request: web.Request, services: Services) -> bytes:
    """Read a whole body.

    Raises:
        BodyTooLarge: longer than `limits.body_bytes`; known from Content-Length before a byte is read.
        TooSlow: it did not come in time.
        MalformedBody: it is cut off, or not encoded as it says.
    """
    limit, length = services.settings.limits.body_bytes, request.content_length or 0
    if length > limit:
        raise _too_large(limit)
    times = services.times
    try:
        async with asyncio.timeout(times.body_s + length / times.body_bytes_per_s):
            with _reading(request):
                return await _read(request, limit)
    except TimeoutError as error:
        raise TooSlow(LATE) from error
    except (web.RequestPayloadError, ClientError, ConnectionError) as error:
        # aiohttp's stream keeps its error, and the frames of a traceback would keep what came of the body.
        cause = error.with_traceback(None)
        raise MalformedBody("the body is cut off, or not encoded as its headers say") from cause


async def _read(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():  # chunked or packed, the length is not known before
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"a body may have at most {limit} bytes")


def _reading(request: web.Request) -> contextlib.AbstractContextManager[None]:
    protocol = request.protocol
    return protocol.reading() if isinstance(protocol, Handed) else contextlib.nullcontext()


def is_json(request: web.Request) -> bool:
    """RhoConnect's rule: the Content-Type starts so, in these letters (contract §1.2)."""
    return request.headers.get("Content-Type", "").startswith("application/json")


async def form_body(request: web.Request, services: Services) -> bytes:
    """The body as an urlencoded form, whatever form it came as; b"" where Rack would not look into it.

    Raises: as `read_body`; MalformedBody: a multipart body that is none.
    """
    body = await read_body(request, services)
    content_type = request.headers.get("Content-Type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _FORMS:
        return body
    return _from_multipart(content_type, body) if kind == _MULTIPART else b""


def _from_multipart(content_type: str, body: bytes) -> bytes:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("utf-8", "surrogateescape")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise MalformedBody("the multipart body is malformed")
    pairs: list[tuple[str, bytes]] = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            pairs.append((name, content))
    return urlencode(pairs).encode()


async def parameters(request: web.Request, services: Services) -> dict[str, Any]:
    """All parameters of a request: the query's, and over them the body's, JSON or form.

    Raises:
        MalformedBody: a body or query that is no JSON object or form.
    """
    query = request.rel_url.raw_query_string
    found = form.parameters(query, "query") if query else {}
    if is_json(request):
        found |= _json_object(await read_body(request, services))
    elif request.can_read_body:
        found |= form.parameters(await form_body(request, services), "body")
    return found


def _json_object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = _decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is malformed: {find_fault(body).text}") from error
    if not isinstance(value, dict):
        raise MalformedBody("the body must be a JSON object")
    return value


def text_of(found: dict[str, Any], name: str) -> str:
    """A text among parameters; "" where it is missing.

    Raises:
        InvalidField: something else than a text.
    """
    value = found.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidField(f"{name} must be a text", field=name)
    return value


def json_response(value: object, status: int = 200) -> web.Response:
    """A JSON answer."""
    return response(answers.of_json(value, status=status))


def text_response(text: str) -> web.Response:
    """RhoConnect's bare text."""
    return response(answers.of_text(text))
