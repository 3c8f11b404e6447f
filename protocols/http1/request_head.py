"""The request heads that the fast path answers, parsed and cached.

A client sends the same head with every ping, so a head is parsed once (by llhttp, through httptools) and cached by its
bytes, without a header `traceparent`, whose value differs in each request. Only a plain ping is accepted:

| accepted | handed to aiohttp, which serves the same route |
| --- | --- |
| `POST /rc/v1/users/ping HTTP/1.1`, exactly | every other request line, a query, a twin route |
| headers in printable ASCII, each once, at most 64 | heads that llhttp refuses, repeated names, other bytes |
| one Content-Length up to `BODY_BYTES` and the setting | Transfer-Encoding, no Content-Length, a longer body |
| Content-Type that starts with `application/json`, UTF-8 | forms, other types, other charsets, none |
| Connection: keep-alive or close, or none | Upgrade and other connection options |
| | Expect, Prefer, Content-Encoding, Trailer, TE |

Thus every request that two HTTP implementations could parse in two ways (RFC 9112 §11.2) has one parser: aiohttp's.
"""

import re
from typing import Final

import httptools

PREFIX: Final = b"POST /rc/v1/users/ping HTTP/1.1\r\n"
HEAD_BYTES: Final = 16_384  # aiohttp's route refuses a longer head
BODY_BYTES: Final = (
    262_144  # a longer body is not a small ping: decoding costs more than the rest of the request
)
_HEADERS_MAX: Final = 64  # aiohttp accepts 128
_CACHED_MAX: Final = 1_024
_CACHED_BYTES: Final = 2_048

_NAMES: Final = (b"\r\ntraceparent: 00-", b"\r\nTraceparent: 00-")
_VALUE_CHARACTERS: Final = b"0123456789abcdef-"
_TRACEPARENT_NAME: Final = len(b"\r\ntraceparent: ")
_TRACEPARENT_LINE: Final = _TRACEPARENT_NAME + 55

_PLAIN: Final = re.compile(
    re.escape(PREFIX) + rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x21-\x7e][ \t\x21-\x7e]*\r\n)+\r\n"
)
_OTHER_CHARSET: Final = re.compile(rb'charset[ \t]*=(?![ \t]*"?utf-?8"?[ \t]*(?:;|\Z))', re.IGNORECASE)
_UNSUPPORTED: Final = frozenset(
    {b"transfer-encoding", b"expect", b"prefer", b"upgrade", b"content-encoding", b"trailer", b"te"}
)


class RequestHead:
    """The properties of a head that the fast path uses.

    Attributes:
        length: bytes of the body that follows.
        token: X-RhoConnect-API-TOKEN; "" if it is missing.
        key: Idempotency-Key; None if it is missing.
        forwarded_for: X-Forwarded-For; "" if it is missing.
        close: whether the client wants the connection closed after the response.
        traceparent: the header of that name, unless it was cut out (`RequestHeadParser.traceparent`).
    """

    __slots__ = ("close", "forwarded_for", "key", "length", "token", "traceparent")

    def __init__(
        self,
        length: int,
        token: str,
        key: str | None,
        close: bool,
        forwarded_for: str = "",
        traceparent: str | None = None,
    ) -> None:
        self.length = length
        self.token = token
        self.key = key
        self.close = close
        self.forwarded_for = forwarded_for
        self.traceparent = traceparent


class _Fields:
    """The callbacks of llhttp: collect the header fields, and note a repeated name."""

    def __init__(self) -> None:
        self.found: dict[bytes, bytes] = {}
        self.repeated = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one field."""
        name = name.lower()
        self.repeated = self.repeated or name in self.found
        self.found[name] = value.strip(b" \t")


class RequestHeadParser:
    """Parses and caches heads. `body_bytes` is the setting `limits.body_bytes`."""

    def __init__(self, body_bytes: int) -> None:
        self._known: dict[bytes, RequestHead] = {}
        self._body_bytes = min(body_bytes, BODY_BYTES)
        self._at = 0
        """Place of the header `traceparent` in the last head that had one: usually that of the next, too. 0: none."""

    def read(self, head: bytes) -> RequestHead | None:
        """Parse a complete head (with its empty line); None: the fast path does not serve it."""
        at = self._at
        if not at or not head.startswith(_NAMES, at):
            known = self._known.get(head)
            if known is not None:
                return known
            at = _traceparent_at(head)
        cut = at > 0 and _is_plain(head, at)
        if cut:
            # The value differs in each request. Without this line the other requests have the same head.
            self._at = at
            head = head[:at] + head[at + _TRACEPARENT_LINE :]
            known = self._known.get(head)
            if known is not None:
                return known
        found = _parse(head, self._body_bytes)
        if cut and found is not None and found.traceparent is not None:
            return None  # a repeated header: aiohttp serves the request
        # A head with a key, or with a traceparent in an unusual form, is used once; a long head would fill the memory.
        if (
            found is not None
            and found.key is None
            and found.traceparent is None
            and len(head) <= _CACHED_BYTES
        ):
            if len(self._known) >= _CACHED_MAX:
                self._known.clear()
            self._known[head] = found
        return found

    def traceparent(self, head: bytes) -> str | None:
        """Return the value of the header `traceparent` that `read` cuts out of this head; None: it cuts out none."""
        at = self._at
        if not at or not head.startswith(_NAMES, at):
            at = _traceparent_at(head)
            if at < 0 or not _is_plain(head, at):
                return None
        return head[at + _TRACEPARENT_NAME : at + _TRACEPARENT_LINE].decode("latin-1")


def _traceparent_at(head: bytes) -> int:
    """Return the beginning of the line end before a header `traceparent` of version 00; -1: there is none.

    Only the two usual spellings of the name are searched.
    """
    at = head.find(_NAMES[0])
    return at if at >= 0 else head.find(_NAMES[1])


def _is_plain(head: bytes, at: int) -> bool:
    """Return whether the value has 55 hexadecimal digits and hyphens: no other header can be hidden in it."""
    end = at + _TRACEPARENT_LINE
    value = head[at + _TRACEPARENT_NAME : end]
    return not value.translate(None, _VALUE_CHARACTERS) and head.startswith(b"\r\n", end)


def may_be_ping(start: bytes) -> bool:
    """Return whether the beginning of a request, up to an incomplete head, may become a plain ping."""
    if not (start.startswith(PREFIX) if len(start) >= len(PREFIX) else PREFIX.startswith(start)):
        return False
    # A bare LF could end the head for another implementation (RFC 9112 §2.2): aiohttp decides about it.
    return len(start) <= HEAD_BYTES and start.count(b"\n") == start.count(b"\r\n")


def _parse(head: bytes, body_bytes: int) -> RequestHead | None:
    if len(head) > HEAD_BYTES or _PLAIN.fullmatch(head) is None:
        return None
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    found = fields.found
    if fields.repeated or len(found) > _HEADERS_MAX or not _UNSUPPORTED.isdisjoint(found):
        return None
    return _judge(found, body_bytes)


def _judge(found: dict[bytes, bytes], body_bytes: int) -> RequestHead | None:
    length = found.get(b"content-length", b"")
    connection = found.get(b"connection", b"keep-alive").lower()
    if b"host" not in found or not length.isdigit() or len(length) > 9 or int(length) > body_bytes:
        return None
    kind = found.get(b"content-type", b"")
    if not kind.startswith(b"application/json") or _OTHER_CHARSET.search(kind) is not None:
        return None
    if connection not in (b"keep-alive", b"close"):
        return None
    key = found.get(b"idempotency-key")
    traceparent = found.get(b"traceparent")
    return RequestHead(
        length=int(length),
        token=found.get(b"x-rhoconnect-api-token", b"").decode("ascii"),
        key=None if key is None else key.decode("ascii"),
        close=connection == b"close",
        forwarded_for=found.get(b"x-forwarded-for", b"").decode("ascii"),
        traceparent=None if traceparent is None else traceparent.decode("ascii"),
    )
