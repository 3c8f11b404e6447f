"""Responses as values, which the fast path writes itself and aiohttp sends.

| outcome | status | body |
| --- | --- | --- |
| a ping is accepted | 200 | empty, RhoConnect's headers (contract §1.3), `X-Ping-Id` |
| an error for which RhoConnect has a text: token, login, record | 422, 401, 500 | that text (contract §1.1, §2) |
| any other error | the error's own status | `{"error": {"code", "message", "field"}}` |

A response has Retry-After if the same request may succeed later.
"""

from collections.abc import Mapping
from typing import Annotated, Final, TypedDict
from urllib.parse import quote

import orjson
from aiohttp import web
from msgspec import Meta
from multidict import CIMultiDict

from gateway.errors import (
    ApiTokenRefused,
    LoginRefused,
    NotAuthenticated,
    PossiblyAccepted,
    RecordRefused,
    RhoPushError,
    TooManyRequests,
    UnexpectedFailure,
)
from gateway.store.error_text import refused_text
from gateway.store.replies import RedisReplyError, RedisReplyRefused
from protocols.http1.response import REASONS, Headers, HttpResponse, encode
from protocols.numbers import INT64_MIN, UINT64_MAX
from protocols.ping.parse import Submission
from protocols.response_headers import SAFETY_HEADERS

RHOCONNECT_HEADERS: Final[Headers] = (
    ("Content-Type", "text/html;charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("pragma", "no-cache"),
    ("X-XSS-Protection", "1; mode=block"),
    ("X-Frame-Options", "SAMEORIGIN"),
    *SAFETY_HEADERS,
)
"""The headers of each of RhoConnect's own responses (contract §1.3), and `SAFETY_HEADERS`."""

JSON_HEADERS: Final[Headers] = (
    ("Content-Type", "application/json; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    *SAFETY_HEADERS,
)
TEXT_HEADERS: Final[Headers] = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    *SAFETY_HEADERS,
)

_MARKUP: Final = ((b"<", rb"\u003c"), (b">", rb"\u003e"), (b"&", rb"\u0026"))
ERROR_TEXTS: Final = (ApiTokenRefused, NotAuthenticated, LoginRefused, RecordRefused)
"""Errors whose response is RhoConnect's text."""
_RETRY_AFTER_S: Final = 2  # typical time until Redis answers again, or a backlog shrinks
_NAMES_MAX: Final = 20  # largest number of names in one warning
_NAME_CHARACTERS: Final = 64
_TYPE_CHARACTERS: Final = "/+.-_;= "  # characters of a Content-Type that are written unchanged


class ErrorObject(TypedDict):
    """An error."""

    code: Annotated[str, Meta(description="Name of the error, which does not change between versions.")]
    message: Annotated[str, Meta(description="The error in words.")]
    field: Annotated[str | None, Meta(description="The invalid parameter, if there is one.")]


class ErrorBody(TypedDict):
    """The body of a response to an error."""

    error: ErrorObject


def accepted(ping_id: str, warned: str = "") -> HttpResponse:
    """Return the 200 for a durable ping. The body is empty, as every client in the field accepts (contract §1.3).

    `warned` is the result of `warning`.
    """
    headers = (*RHOCONNECT_HEADERS, ("X-Ping-Id", ping_id))
    if warned:
        headers = (*headers, ("X-Ping-Warning", warned))
    return HttpResponse(200, headers)


def warning(submission: Submission) -> str:
    """Return a warning about unknown parameters, safe in a header; "" if there is none.

    The warning contains at most `_NAMES_MAX` names, and the number of further names.
    """
    parts: list[str] = []
    if submission.unread:
        kind = quote(submission.unread[:_NAME_CHARACTERS], safe=_TYPE_CHARACTERS)
        parts.append(f"the body was not read: its Content-Type is {kind}, and it is not a JSON object")
    if submission.unknown:
        names = [quote(name[:_NAME_CHARACTERS], safe="[]._-") for name in submission.unknown[:_NAMES_MAX]]
        more = len(submission.unknown) - len(names) + submission.unnamed
        parts.append("not understood: " + ", ".join(names) + (f" and {more} more" if more else ""))
    return "; ".join(parts)


def of_json(value: object, *, status: int = 200, headers: Headers = ()) -> HttpResponse:
    """Return a response with a JSON body."""
    return HttpResponse(status, (*JSON_HEADERS, *headers), json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return JSON text. An integer beyond 64 bits, which only damaged stored values have, becomes the nearest one
    within."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(_within_64_bits(value))


def _within_64_bits(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _within_64_bits(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_within_64_bits(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, INT64_MIN), UINT64_MAX)
    return value


def accepted_head(date: str) -> bytes:
    """Return the head of the response to an accepted ping, up to the ping's id, which comes last."""
    empty = encode(accepted(""), date, close=False)
    return empty.replace(b"X-Ping-Id: \r\n", b"").removesuffix(b"\r\n") + b"X-Ping-Id: "


def html_safe_json(value: object) -> bytes:
    r"""Return JSON text without markup: `<`, `>` and `&` are written as \u003c, \u003e and \u0026.

    These characters occur only inside JSON strings, where the escapes have the same meaning.
    """
    text = json_bytes(value)
    for character, escape in _MARKUP:
        text = text.replace(character, escape)
    return text


def of_html_json(value: object) -> HttpResponse:
    """Return JSON as RhoConnect does: with the Content-Type of HTML (contract §2)."""
    return HttpResponse(200, RHOCONNECT_HEADERS, html_safe_json(value))


def of_text(text: str, *, status: int = 200) -> HttpResponse:
    """Return plain text as RhoConnect does: with the Content-Type of HTML."""
    return HttpResponse(status, RHOCONNECT_HEADERS, text.encode())


def of_error(error: RhoPushError, ping_id: str = "") -> HttpResponse:
    """Return the response to an error. `ping_id` is included only if the ping was possibly accepted."""
    after_s = retry_after_s(error)
    headers: Headers = () if after_s is None else (("Retry-After", str(after_s)),)
    if ping_id and isinstance(error, PossiblyAccepted):
        headers = (*headers, ("X-Ping-Id", error.ping_id or ping_id))
    if isinstance(error, ERROR_TEXTS):
        return HttpResponse(error.status, (*TEXT_HEADERS, *headers), error.message.encode())
    if error.status == 500:  # internal: the details are in the log, not in the response
        return of_failure()
    return of_json(ErrorBody(error=error_object(error)), status=error.status, headers=headers)


def error_object(error: RhoPushError) -> ErrorObject:
    """Return the JSON object of an error: code, message and field."""
    message = f"Redis refuses: {_words(error)}" if isinstance(error, RedisReplyError) else error.message
    return {"code": error.code, "message": message, "field": error.field}


def retry_after_s(error: RhoPushError) -> int | None:
    """Return the seconds after which the same request may be retried; None: the request must change first."""
    if error.status not in (429, 503):
        return None
    return error.retry_after_s if isinstance(error, TooManyRequests) else _RETRY_AFTER_S


def _words(error: RedisReplyError) -> str:
    """Return the error text of Redis itself if an operator must act on it, else its meaning."""
    return error.words if isinstance(error, RedisReplyRefused) else refused_text(error.words)


def of_failure() -> HttpResponse:
    """Return the 500 for an unexpected failure. The log has the reason."""
    about = ErrorObject(code=UnexpectedFailure.code, message="internal server error", field=None)
    return of_json(ErrorBody(error=about), status=500)


def response(answer: HttpResponse) -> web.Response:
    """Convert a response to aiohttp's type."""
    reason = REASONS[answer.status]
    return web.Response(
        status=answer.status, reason=reason, headers=CIMultiDict(answer.headers), body=answer.body
    )
