"""What the aiohttp routes read of a request, and how they answer it."""

from collections.abc import Generator
from typing import Any, Final, TypeVar, cast

import msgspec
from aiohttp import HttpVersion11, hdrs, web

from gateway.doors import answers
from gateway.doors.answers import response
from gateway.doors.bodies import API_HEADER, BodyReader, read_body
from gateway.doors.handed import MalformedRequest
from gateway.doors.multipart import pairs_of
from gateway.doors.services import Services
from gateway.turns import Turns
from protocols.errors import InvalidField, MalformedBody
from protocols.json_syntax import find_fault
from protocols.ping import form
from protocols.ping.large import LARGE_BYTES
from protocols.ping.limits import DEPTH_MAX, is_deeper

__all__ = ["API_HEADER", "read_body"]  # what the routes take from here, too

Found = TypeVar("Found")
_FORMS: Final = ("", "application/x-www-form-urlencoded")
_MULTIPART: Final = "multipart/form-data"
_VALUES_MAX: Final = 100_000  # of a large JSON body that is no ping: decoding them takes some 30 ms
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


def is_json(request: web.Request) -> bool:
    """RhoConnect's rule: the Content-Type starts so, in these letters (contract §1.2)."""
    return request.headers.get("Content-Type", "").startswith("application/json")


async def form_parameters(request: web.Request, services: Services) -> tuple[dict[str, Any], bytes]:
    """The parameters of a body that is no JSON, and the body; none where Rack would not look into it.

    Raises: as `read_body`; MalformedBody: it is no form.
    """
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _MULTIPART:
        reader = BodyReader(request, services)
        await reader.begin()
        pairs = await pairs_of(request, reader)
        return form.of_pairs(pairs, "body"), b"\0".join(name.encode() + b"=" + value for name, value in pairs)
    body = await read_body(request, services)
    if kind not in _FORMS:
        return {}, b""
    if len(body) <= LARGE_BYTES:
        return form.parameters(body, "body"), body
    async with services.parsing:
        return await driven(form.parameters_in_steps(body, "body"), services.turns), body


async def driven(steps: Generator[None, None, Found], turns: Turns) -> Found:
    """What the steps return in the end; small pings are served between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("Found", end.value)
        await turns.turn()


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
        found |= (await form_parameters(request, services))[0]
    return found


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
