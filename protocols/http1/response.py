"""Responses as values, and their bytes in HTTP/1.1."""

from typing import Final, NamedTuple

Headers = tuple[tuple[str, str], ...]
"""Names and values of header fields."""
REASONS: Final = {
    200: "OK",
    202: "Accepted",
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
"""The reason phrase of each status that this product answers with (RFC 9110 §15)."""


class HttpResponse(NamedTuple):
    """Status, headers without Content-Length and Date, and body."""

    status: int
    headers: Headers
    body: bytes = b""


def encode(answer: HttpResponse, date: str, *, close: bool) -> bytes:
    """Return the bytes of a response in HTTP/1.1 (RFC 9112 §4)."""
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status]}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    lines += [f"Content-Length: {len(answer.body)}", f"Date: {date}"]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body
