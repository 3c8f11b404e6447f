"""The request heads that the fast path answers, parsed and cached.

A client sends the same head with every ping, so a head is parsed once (by llhttp, through httptools) and cached by its
bytes, without the headers of tracing systems, whose values differ in each request. Only a plain ping is accepted:

| accepted | handed to aiohttp, which serves the same route |
| --- | --- |
| `POST /rc/v1/users/ping HTTP/1.1`, exactly | every other request line, a query, a twin route |
| headers in printable ASCII, each once, at most 64 | heads that llhttp refuses, repeated names, other bytes |
| at most 32 further headers of `TRACING`, also repeated ones | more of them, a repeated `traceparent` |
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

_TRACEPARENT: Final = b"traceparent"
TRACING: Final = frozenset(
    {
        b"b3",
        b"baggage",
        b"elastic-apm-traceparent",
        b"newrelic",
        b"request-id",
        b"sentry-trace",
        b"tracestate",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-b3-flags",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-spanid",
        b"x-b3-traceid",
        b"x-cloud-trace-context",
        b"x-correlation-id",
        b"x-datadog-parent-id",
        b"x-datadog-sampling-priority",
        b"x-datadog-tags",
        b"x-datadog-trace-id",
        b"x-ot-span-context",
        b"x-request-id",
    }
)
"""Headers of tracing systems beside `traceparent`. The gateway ignores them; most values differ in each request."""
_TRACING_MAX: Final = 32
_VALUE: Final = rb":[ \t]*[\x21-\x7e][ \t\x21-\x7e]*(?=\r\n)"
_TRACING_LINE: Final = re.compile(
    # The first letter excludes most lines at once.
    rb"\r\n(?=[%b])(?i:%b)%b"
    % (
        bytes(sorted({letter for name in TRACING for letter in (name[:1] + name[:1].upper())})),
        b"|".join(sorted(TRACING, reverse=True)),
        _VALUE,
    )
)
_TRACEPARENT_LINE: Final = re.compile(rb"\r\n(?i:traceparent)" + _VALUE)
_NAMES: Final = (b"\r\ntraceparent: 00-", b"\r\nTraceparent: 00-")
_VALUE_CHARACTERS: Final = b"0123456789abcdef-"
_NAME_BYTES: Final = len(b"\r\ntraceparent: ")
_LINE_BYTES: Final = _NAME_BYTES + 55

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
    """

    __slots__ = ("close", "forwarded_for", "key", "length", "token")

    def __init__(
        self, length: int, token: str, key: str | None, close: bool, forwarded_for: str = ""
    ) -> None:
        self.length = length
        self.token = token
        self.key = key
        self.close = close
        self.forwarded_for = forwarded_for


_LastTraced = tuple[int, bytes, bytes, int, int, RequestHead | None]
"""The last head with a usual `traceparent`: its size, the bytes before and after the value, the beginning and the end
of the value, and the properties."""


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
        self._last: _LastTraced = (0, b"", b"", 0, 0, None)
        self._traced = False
        """Whether a head had a header of `TRACING`, or an unusual `traceparent`: only then are they searched."""

    def read(self, head: bytes) -> RequestHead | None:
        """Parse a complete head (with its empty line); None: the fast path does not serve it."""
        at = self._at
        if not at and (known := self._known.get(head)) is not None:
            return known
        size, before, after, begin, end, last = self._last
        if (
            len(head) == size
            and head.startswith(before)
            and head.endswith(after)
            and not head[begin:end].translate(None, _VALUE_CHARACTERS)
        ):
            return last  # a head of this size with these bytes around the value, as most clients repeat it
        # The place of a header in another request is not remembered.
        return self._look_up(head, at) if head.startswith(PREFIX) else None

    def _look_up(self, head: bytes, at: int) -> RequestHead | None:
        """Look a head up without its `traceparent`, usually at `at` (0: unknown), and parse it if it is new."""
        if not at or not head.startswith(_NAMES, at):
            known = self._known.get(head)
            if known is not None:
                return known
            at = _traceparent_at(head)
        cut = at > 0 and _is_plain(head, at)
        rest = head
        if cut:
            # The value differs in each request. Without this line the other requests have the same head.
            self._at = at
            rest = head[:at] + head[at + _LINE_BYTES :]
            known = self._known.get(rest)
            if known is not None:
                begin, end = at + _NAME_BYTES, at + _LINE_BYTES
                self._last = (len(head), head[:begin], head[end:], begin, end, known)
                return known
        if self._traced and len(head) <= HEAD_BYTES:
            return self._read_traced(rest, cut)
        return self._parse(rest, cut)

    def _read_traced(self, rest: bytes, cut: bool) -> RequestHead | None:
        """Parse a head without the headers of tracing systems; `cut`: whether `traceparent` was cut out already."""
        if not cut and (line := _TRACEPARENT_LINE.search(rest)) is not None:
            cut, rest = True, rest[: line.start()] + rest[line.end() :]
        rest, number = _TRACING_LINE.subn(b"", rest)
        if number > _TRACING_MAX:
            return None
        return self._known.get(rest) or self._parse(rest, cut)

    def _parse(self, head: bytes, cut: bool) -> RequestHead | None:
        """Parse a head, and store it; `cut`: whether a header `traceparent` was cut out."""
        fields = _fields(head)
        traced = not TRACING.isdisjoint(fields) or _TRACEPARENT in fields
        self._traced = self._traced or traced
        if cut and _TRACEPARENT in fields:
            return None  # a repeated header: aiohttp serves the request
        found = _judge(fields, self._body_bytes)
        # A head with a key, or with an id of a trace, is used once; a long head would fill the memory.
        if found is not None and found.key is None and not traced and len(head) <= _CACHED_BYTES:
            if len(self._known) >= _CACHED_MAX:
                self._known.clear()
            self._known[head] = found
        return found

    def traceparent(self, head: bytes) -> str | None:
        """Return the value of the header `traceparent` of a head that `read` accepted; None: it has none."""
        at = self._at
        if not at or not head.startswith(_NAMES, at):
            if not (at or self._traced) or head in self._known:
                return None  # no head had this header, or no head is stored with it
            at = _traceparent_at(head)
        if at > 0 and _is_plain(head, at):
            return head[at + _NAME_BYTES : at + _LINE_BYTES].decode("latin-1")
        line = _TRACEPARENT_LINE.search(head)
        return None if line is None else line[0].partition(b":")[2].strip(b" \t").decode("latin-1")


def _traceparent_at(head: bytes) -> int:
    """Return the beginning of the line end before a header `traceparent` of version 00; -1: there is none.

    Only the two usual spellings of the name are searched.
    """
    at = head.find(_NAMES[0])
    return at if at >= 0 else head.find(_NAMES[1])


def _is_plain(head: bytes, at: int) -> bool:
    """Return whether the value has 55 hexadecimal digits and hyphens: no other header can be hidden in it."""
    end = at + _LINE_BYTES
    value = head[at + _NAME_BYTES : end]
    return not value.translate(None, _VALUE_CHARACTERS) and head.startswith(b"\r\n", end)


def may_be_ping(start: bytes) -> bool:
    """Return whether the beginning of a request, up to an incomplete head, may become a plain ping."""
    if not (start.startswith(PREFIX) if len(start) >= len(PREFIX) else PREFIX.startswith(start)):
        return False
    # A bare LF could end the head for another implementation (RFC 9112 §2.2): aiohttp decides about it.
    return len(start) <= HEAD_BYTES and start.count(b"\n") == start.count(b"\r\n")


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Return the headers by their lower-case names; none if the fast path does not serve this head."""
    if len(head) > HEAD_BYTES or _PLAIN.fullmatch(head) is None:
        return {}
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return {}
    found = fields.found
    if fields.repeated or len(found) > _HEADERS_MAX or not _UNSUPPORTED.isdisjoint(found):
        return {}
    return found


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
    return RequestHead(
        length=int(length),
        token=found.get(b"x-rhoconnect-api-token", b"").decode("ascii"),
        key=None if key is None else key.decode("ascii"),
        close=connection == b"close",
        forwarded_for=found.get(b"x-forwarded-for", b"").decode("ascii"),
    )
