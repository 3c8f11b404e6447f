"""What a door says, as one value that both ways of answering use: the front writes it, aiohttp sends it.

| what happened | status | body |
| --- | --- | --- |
| a ping is accepted | 200 | empty, RhoConnect's headers (contract §1.3), `X-Ping-Id` |
| RhoConnect has words: token, login, record | 422, 401, 500 | those, as text (contract §1.1, §2) |
| anything else is wrong | the error's own status | `{"error": {"code", "message", "field"}}` |

An answer that is worth another try, unchanged, has Retry-After.
"""

from typing import Final, NamedTuple
from urllib.parse import quote

import orjson
from aiohttp import web
from multidict import CIMultiDict

from gateway.errors import (
    ApiTokenRefused,
    LoginRefused,
    NotAuthenticated,
    PossiblyAccepted,
    RecordRefused,
    RhoPushError,
    TooManyRequests,
)
from gateway.store.error_text import refused_text
from gateway.store.replies import RedisReplyError, RedisReplyRefused
from protocols.ping.parse import Submission
from protocols.response_headers import SAFETY_HEADERS

Headers = tuple[tuple[str, str], ...]

RHOCONNECT_HEADERS: Final[Headers] = (
    ("Content-Type", "text/html;charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("pragma", "no-cache"),
    ("X-XSS-Protection", "1; mode=block"),
    ("X-Frame-Options", "SAMEORIGIN"),
    *SAFETY_HEADERS,
)
"""What RhoConnect sends with every answer of its own (contract §1.3), and `SAFETY_HEADERS`."""

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
_ERROR_TEXTS: Final = (ApiTokenRefused, NotAuthenticated, LoginRefused, RecordRefused)
_RETRY_AFTER_S: Final = 2  # a store that comes back, or a backlog that shrinks, needs about this long
_NAMES_MAX: Final = 20  # names in one warning: a caller with more has another problem
_NAME_CHARACTERS: Final = 64
_TYPE_CHARACTERS: Final = "/+.-_;= "  # of a Content-Type, written as they are
REASONS: Final = {
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class HttpResponse(NamedTuple):
    """Status, headers without Content-Length and Date, and body."""

    status: int
    headers: Headers
    body: bytes = b""


def accepted(ping_id: str, warned: str = "") -> HttpResponse:
    """200 for a ping that is durable: empty, since that suits every client in the field (contract §1.3).

    `warned` is what `warning` returned.
    """
    headers = (*RHOCONNECT_HEADERS, ("X-Ping-Id", ping_id))
    if warned:
        headers = (*headers, ("X-Ping-Warning", warned))
    return HttpResponse(200, headers)


def warning(submission: Submission) -> str:
    """Name what was not understood, safe in a header whatever the caller called it; "" where all was understood.

    At most `_NAMES_MAX` names are written, and the number of the others.
    """
    parts: list[str] = []
    if submission.unread:
        kind = quote(submission.unread[:_NAME_CHARACTERS], safe=_TYPE_CHARACTERS)
        parts.append(f"the body was not read: its Content-Type is {kind}, and it is no JSON object")
    if submission.unknown:
        names = [quote(name[:_NAME_CHARACTERS], safe="[]._-") for name in submission.unknown[:_NAMES_MAX]]
        more = len(submission.unknown) - len(names) + submission.unnamed
        parts.append("not understood: " + ", ".join(names) + (f" and {more} more" if more else ""))
    return "; ".join(parts)


def of_json(value: object, *, status: int = 200, headers: Headers = ()) -> HttpResponse:
    """A JSON body."""
    return HttpResponse(status, (*JSON_HEADERS, *headers), orjson.dumps(value))


def accepted_head(date: str) -> bytes:
    """The answer to an accepted ping up to the ping's id, which comes last."""
    empty = encode(accepted(""), date, close=False)
    return empty.replace(b"X-Ping-Id: \r\n", b"").removesuffix(b"\r\n") + b"X-Ping-Id: "


def html_safe_json(value: object) -> bytes:
    r"""JSON text that holds no markup: `<`, `>` and `&` are written as \u003c, \u003e and \u0026.

    They stand only inside of JSON's strings, where the escapes mean the same.
    """
    text = orjson.dumps(value)
    for character, escape in _MARKUP:
        text = text.replace(character, escape)
    return text


def of_html_json(value: object) -> HttpResponse:
    """JSON in RhoConnect's manner: called HTML (contract §2)."""
    return HttpResponse(200, RHOCONNECT_HEADERS, html_safe_json(value))


def of_text(text: str, *, status: int = 200) -> HttpResponse:
    """A body in RhoConnect's manner: bare text, called HTML."""
    return HttpResponse(status, RHOCONNECT_HEADERS, text.encode())


def of_error(error: RhoPushError, ping_id: str = "") -> HttpResponse:
    """Say what is wrong. `ping_id` goes out only where the ping may have been accepted all the same."""
    after_s = retry_after_s(error)
    headers: Headers = () if after_s is None else (("Retry-After", str(after_s)),)
    if ping_id and isinstance(error, PossiblyAccepted):
        headers = (*headers, ("X-Ping-Id", error.ping_id or ping_id))
    if isinstance(error, _ERROR_TEXTS):
        return HttpResponse(error.status, (*TEXT_HEADERS, *headers), error.message.encode())
    if error.status == 500:  # ours alone: what happened inside is in the log, not in the answer
        return of_failure()
    return of_json({"error": error_object(error)}, status=error.status, headers=headers)


def error_object(error: RhoPushError) -> dict[str, str | None]:
    """The JSON object of an error: code, message and field."""
    message = f"Redis refuses: {_words(error)}" if isinstance(error, RedisReplyError) else error.message
    return {"code": error.code, "message": message, "field": error.field}


def retry_after_s(error: RhoPushError) -> int | None:
    """The seconds after which the same request is worth another try; None: it must change first."""
    if error.status not in (429, 503):
        return None
    return error.retry_after_s if isinstance(error, TooManyRequests) else _RETRY_AFTER_S


def _words(error: RedisReplyError) -> str:
    """The error of Redis itself where an operator must act on it, else what it means."""
    return error.words if isinstance(error, RedisReplyRefused) else refused_text(error.words)


def of_failure() -> HttpResponse:
    """500 for what should not happen. The log has the reason."""
    about = {"code": "internal", "message": "internal server error", "field": None}
    return of_json({"error": about}, status=500)


def response(answer: HttpResponse) -> web.Response:
    """An answer as aiohttp sends it."""
    reason = REASONS[answer.status]
    return web.Response(
        status=answer.status, reason=reason, headers=CIMultiDict(answer.headers), body=answer.body
    )


def encode(answer: HttpResponse, date: str, *, close: bool) -> bytes:
    """The bytes of an answer in HTTP/1.1 (RFC 9112 §4)."""
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines += [f"Content-Length: {len(answer.body)}", f"Date: {date}"]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body
