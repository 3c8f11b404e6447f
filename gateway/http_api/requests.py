"""Reading of requests and writing of responses for the aiohttp routes."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
from aiohttp import HttpVersion11, hdrs, web

from gateway.http_api import responses
from gateway.http_api.aiohttp_parser import MalformedRequest, check_head
from gateway.http_api.bodies import API_HEADER, BodyReader, read_body
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.multipart import pairs_of
from gateway.http_api.responses import response
from gateway.scheduling.scheduler import Scheduler
from protocols.errors import MalformedBody, wrong_type
from protocols.json_bodies import BodyKind, json_text, kind_of
from protocols.json_syntax import find_fault
from protocols.ping import form
from protocols.ping.large import LARGE_BYTES
from protocols.ping.limits import DEPTH_MAX, is_deeper

__all__ = ["API_HEADER", "read_body"]  # names that the routes import from here, too

Found = TypeVar("Found")
CLIENT_HEADER: Final = "X-RhoConnect-CLIENT-ID"
_VALUES_MAX: Final = 100_000  # of a large JSON body other than a ping: decoding them takes some 30 ms
_LENGTH_DIGITS: Final = 18
"""Most digits of a Content-Length: those of any number below 2^63."""
_LENGTH_CHARACTERS: Final = 640
"""Most digits of a Content-Length with the zeros before it: `int` may refuse a longer text, whatever its value."""
_decode: Final = msgspec.json.Decoder().decode


def refuse_unclear(request: web.Request) -> None:
    """Refuse a request whose end is ambiguous (RFC 9112 §6.1, §11.2).

    The parser accepts: an empty coding, which it ignores; codings besides chunked; chunks in HTTP/1.0; CONNECT, after
    whose head it begins the next request, regardless of its length; and a Content-Length of 2^64 - 1, which it takes
    for a missing one, so that it would read the body as further requests.

    A Content-Length with hundreds of zeros before it is refused, too: no client sends one.

    Raises:
        MalformedRequest: the request is ambiguous. The connection must close after the response.
        HeadTooLarge: the head is too large.
    """
    check_head(request)
    headers = request.headers
    coding = headers.get(hdrs.TRANSFER_ENCODING)
    clear = coding is None or (
        coding.strip().lower() == "chunked"
        and hdrs.CONTENT_LENGTH not in headers
        and request.version >= HttpVersion11
    )
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    if len(length) > _LENGTH_CHARACTERS or len(length.lstrip("0")) > _LENGTH_DIGITS:
        clear = False
    if not clear or request.method == hdrs.METH_CONNECT:
        raise MalformedRequest("the end of the request is ambiguous")


class RequestBody(NamedTuple):
    """A request's body, read according to its Content-Type and its content (`protocols.json_bodies`).

    Attributes:
        body: the bytes that an Idempotency-Key covers.
        json: the JSON text as UTF-8; None if the body is not JSON.
        values: the parameters of a form.
        unread: the Content-Type of a body that was not read; "" if it was read or is empty.
    """

    body: bytes
    json: bytes | None = None
    values: Mapping[str, Any] = MappingProxyType({})
    unread: str = ""


async def read_request_body(request: web.Request, services: Dependencies) -> RequestBody:
    """Read a request's body.

    Raises:
        MalformedBody: the body is not a form, or not in its charset.
        RhoPushError: other errors of `read_body`.
    """
    # A field value is ASCII (RFC 9110 §5.5); other bytes must not be echoed in a warning or an error.
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "").encode("ascii", "replace").decode()
    kind = kind_of(content_type)
    if kind is BodyKind.MULTIPART:
        reader = BodyReader(request, services)
        await reader.begin()
        pairs = await pairs_of(request, reader)
        held = b"\0".join(name.encode() + b"=" + value for name, value in pairs)
        return RequestBody(held, values=form.of_pairs(pairs, "body"))
    body = await read_body(request, services)
    json = json_text(body, content_type)
    if json is not None:
        return RequestBody(body, json=json)
    if kind is not BodyKind.FORM:
        return RequestBody(b"", unread=content_type if body.strip() else "")
    if len(body) <= LARGE_BYTES:
        return RequestBody(body, values=form.parameters(body, "body"))
    async with services.parsing_lock:
        return RequestBody(
            body, values=await run_in_steps(form.parameters_in_steps(body, "body"), services.scheduler)
        )


async def run_in_steps(steps: Generator[None, None, Found], scheduler: Scheduler) -> Found:
    """Run the steps to their end, and return their result; small pings are served between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("Found", end.value)
        await scheduler.turn()


async def parameters(request: web.Request, services: Dependencies) -> dict[str, Any]:
    """Return all parameters of a request: those of the query, overridden by those of the body (JSON or form).

    Raises:
        MalformedBody: the body or query is neither a JSON object nor a form.
    """
    query = request.rel_url.raw_query_string
    values = form.parameters(query, "query") if query else {}
    if request.can_read_body:
        sent = await read_request_body(request, services)
        values |= sent.values if sent.json is None else _json_object(sent.json)
    return values


def _json_object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    if len(body) > LARGE_BYTES and sum(map(body.count, (b"[", b"{", b","))) > _VALUES_MAX:
        raise MalformedBody(f"the body has more than {_VALUES_MAX} values")
    try:
        value = _decode(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the body is malformed: {find_fault(body).text}") from error
    if not isinstance(value, dict):
        raise MalformedBody("the body must be a JSON object")
    if is_deeper(value):
        raise MalformedBody(f"the body is nested deeper than {DEPTH_MAX} levels")
    return value


def text_of(values: dict[str, Any], name: str) -> str:
    """Return a text parameter; "" if it is missing.

    Raises:
        InvalidField: the value is not a text.
    """
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong_type(name, "a text", value)
    return value


def optional_text(values: dict[str, Any], name: str) -> str | None:
    """Return a text parameter; None if it is missing or empty.

    Raises:
        InvalidField: the value is not a text.
    """
    return text_of(values, name) or None


def cookie(request: web.Request, name: str) -> str:
    """Return the value of a cookie; "": there is none. Of several with this name, the first one counts, as in Rack.

    All Cookie headers count: Android devices send two (contract §9.1), and proxies split them. aiohttp's
    `Request.cookies` is not used, since a head full of cookies would take it a tenth of a second.
    """
    for pair in ";".join(request.headers.getall(hdrs.COOKIE, ())).split(";"):
        known, _, text = pair.partition("=")
        if known.strip() == name:
            value = text.strip()
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return ""


def named_client(request: web.Request, values: dict[str, Any]) -> str:
    """Return the client id of a device's request: in the path, the parameters or the header (contract §2.1); "": none.

    Raises:
        InvalidField: the parameter is not a text.
    """
    named = request.match_info.get("client_id") or text_of(values, "client_id")
    return named or request.headers.get(CLIENT_HEADER, "")


def json_response(value: object, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return response(responses.of_json(value, status=status))


def text_response(text: str) -> web.Response:
    """Return a plain-text response, as RhoConnect does."""
    return response(responses.of_text(text))
