"""Which heads the fast path takes: each rule of the table, one byte from a good head."""

import itertools

import pytest

from protocols.http1.request_head import (
    BODY_BYTES,
    HEAD_BYTES,
    PREFIX,
    RequestHeadParser,
    may_be_ping,
)

GOOD = {
    "Host": "gateway",
    "Content-Type": "application/json",
    "Content-Length": "12",
    "X-RhoConnect-API-TOKEN": "t0ken",
}


def head(changes: dict[str, str | None] | None = None, extra: str = "") -> bytes:
    fields = GOOD | (changes or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return PREFIX + f"{lines}{extra}\r\n".encode("latin-1")


def test_a_plain_head_is_read() -> None:
    found = RequestHeadParser(10**9).read(head())
    assert found is not None
    assert (found.length, found.token, found.key, found.close) == (12, "t0ken", None, False)


@pytest.mark.parametrize(
    ("changes", "extra", "expected"),
    [
        ({"X-RhoConnect-API-TOKEN": None}, "x-rhoconnect-api-token:\t t \r\n", ("t", None, False)),
        ({"X-RhoConnect-API-TOKEN": None}, "", ("", None, False)),
        ({"Connection": "Close"}, "", ("t0ken", None, True)),
        ({"Connection": "keep-alive"}, "", ("t0ken", None, False)),
        ({"Idempotency-Key": "k"}, "", ("t0ken", "k", False)),
        ({"Content-Type": "application/json; charset=utf-8"}, "", ("t0ken", None, False)),
        ({}, "".join(f"X-{n}: 1\r\n" for n in range(60)), ("t0ken", None, False)),
    ],
)
def test_plain_heads_are_read_by_the_fast_path(
    changes: dict[str, str | None], extra: str, expected: tuple[str, str | None, bool]
) -> None:
    found = RequestHeadParser(10**9).read(head(changes, extra))
    assert found is not None
    assert (found.token, found.key, found.close) == expected


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"Host": None}, ""),
        ({"Content-Length": None}, ""),
        ({"Content-Length": "+1"}, ""),
        ({"Content-Length": "0000000012"}, ""),
        ({"Content-Length": "0" * 5_000 + "12"}, ""),  # more digits than `int` takes
        ({"Content-Length": "1,1"}, ""),
        ({"Content-Length": "0x1"}, ""),
        ({"Content-Length": "\xb2"}, ""),
        ({}, "Content-Length: 12\r\n"),
        ({}, "content-length: 12\r\n"),
        ({}, "X-RhoConnect-API-TOKEN: other\r\n"),
        ({"Transfer-Encoding": "chunked"}, ""),
        ({"Expect": "100-continue"}, ""),
        ({"Prefer": "return=representation"}, ""),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, ""),
        ({"Upgrade": "websocket"}, ""),
        ({"Connection": "keep-alive, TE"}, ""),
        ({"Content-Encoding": "gzip"}, ""),
        ({"TE": "trailers"}, ""),
        ({"Trailer": "X"}, ""),
        ({"Content-Type": None}, ""),
        ({"Content-Type": "text/plain"}, ""),
        ({"Content-Type": "Application/JSON"}, ""),
        ({}, " folded: x\r\n"),
        ({}, "X: a\r\n b\r\n"),
        ({}, "X : a\r\n"),
        ({}, "X: \r\n"),
        ({}, "X: a\nY: b\r\n"),
        ({}, "X: a\rb\r\n"),
        ({}, "X: \x00\r\n"),
        ({}, "X: \xe9\r\n"),
        ({}, "NoColon\r\n"),
        ({}, "".join(f"X-{n}: 1\r\n" for n in range(61))),
        ({}, "X: " + "x" * HEAD_BYTES + "\r\n"),
    ],
)
def test_other_heads_are_left_to_aiohttp(changes: dict[str, str | None], extra: str) -> None:
    assert RequestHeadParser(10**9).read(head(changes, extra)) is None


@pytest.mark.parametrize(
    ("limit", "length", "taken"),
    [
        (10, 9, True),
        (10, 10, True),
        (10, 11, False),
        (10**9, BODY_BYTES, True),
        (10**9, BODY_BYTES + 1, False),
    ],
)
def test_a_longer_body_is_left_to_aiohttp(limit: int, length: int, taken: bool) -> None:
    assert (RequestHeadParser(limit).read(head({"Content-Length": str(length)})) is not None) == taken


def test_repeated_heads_are_cached_within_a_limit() -> None:
    heads = RequestHeadParser(10**9)
    assert heads.read(head()) is heads.read(head())
    keyed = head({"Idempotency-Key": "k"})
    assert heads.read(keyed) is not heads.read(keyed)
    first = heads.read(head())
    for number in range(1024):
        heads.read(head({"X-Request": str(number)}))
    assert len(heads._known) <= 1024
    assert heads.read(head()) is not first


@pytest.mark.parametrize(
    ("start", "ours"),
    [
        (b"P", True),
        (PREFIX, True),
        (PREFIX + b"Host: a", True),
        (PREFIX + b"Host: a\r", True),
        (b"G", False),
        (b"\r\n" + PREFIX, False),
        (PREFIX.lower(), False),
        (PREFIX + b"Host: a\nX", False),
        (PREFIX + b"x" * (HEAD_BYTES - len(PREFIX)), True),
        (PREFIX + b"x" * (HEAD_BYTES - len(PREFIX) + 1), False),
    ],
)
def test_the_beginning_of_a_head_shows_whether_it_may_be_a_ping(start: bytes, ours: bool) -> None:
    assert may_be_ping(start) == ours


@pytest.mark.parametrize(
    "line",
    ["GET /rc/v1/users/ping HTTP/1.1", "POST /rc/v1/users/ping HTTP/1.0", "POST /rc/v1/users HTTP/1.1", ""],
)
@pytest.mark.parametrize("traced_before", [False, True])
def test_the_head_of_another_request_is_not_taken(line: str, traced_before: bool) -> None:
    parser = RequestHeadParser(10**9)
    ping = parser.read(traced(1) if traced_before else head())
    assert ping is not None
    for fields in (head(), traced(1)):
        assert parser.read(fields.replace(PREFIX.removesuffix(b"\r\n"), line.encode())) is None
    assert parser.read(head()) is parser.read(traced(2)) is ping


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def traced(number: int, name: str = "traceparent") -> bytes:
    return head({name: f"00-{number:032x}-00f067aa0ba902b7-01"})


@pytest.mark.parametrize("name", ["traceparent", "Traceparent"])
def test_heads_that_differ_in_their_traceparent_are_parsed_once(name: str) -> None:
    parser = RequestHeadParser(10**9)
    first = parser.read(traced(1, name))
    assert first is not None
    assert first.token == "t0ken"
    assert all(parser.read(traced(number, name)) is first for number in range(2, 3_000))
    assert parser.read(head()) is first
    assert parser.traceparent(traced(7, name)) == f"00-{7:032x}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "value",
    [
        TRACEPARENT[:-1],
        TRACEPARENT + "-further",
        TRACEPARENT.replace("00-4b", "01-4b"),
        TRACEPARENT[:-1] + ";",
    ],
)
def test_a_traceparent_of_another_form_is_read_too(value: str) -> None:
    parser = RequestHeadParser(10**9)
    for _ in range(2):  # the second head is read without the header
        block = head({"traceparent": value})
        assert parser.read(block) is not None
        assert parser.traceparent(block) == value
    assert parser.read(head({"traceparent": value + "0"})) is parser.read(head())


def test_without_a_traceparent_there_is_no_value() -> None:
    parser = RequestHeadParser(10**9)
    assert parser.read(head({"traceparent": ""})) is None
    assert parser.traceparent(head()) is None


@pytest.mark.parametrize("line", ["TRACEPARENT: {}", "traceparent:{}", "traceparent:\t {} "])
def test_other_spellings_of_a_traceparent_are_read(line: str) -> None:
    parser = RequestHeadParser(10**9)
    for _ in range(2):
        block = head({}, line.format(TRACEPARENT) + "\r\n")
        found = parser.read(block)
        assert found is not None
        assert parser.traceparent(block) == TRACEPARENT
    assert found is parser.read(head())


TRACED = (
    "tracestate: vendor={0:x},other=1",
    "Baggage: user={0}",
    "b3: {0:032x}-00f067aa0ba902b7-1",
    "X-B3-TraceId: {0:032x}\r\nX-B3-SpanId: {0:016x}\r\nX-B3-ParentSpanId: 1\r\nX-B3-Sampled: 1\r\nX-B3-Flags: 0",
    "X-Request-Id: {0:032x}",
    "X-Amzn-Trace-Id: Root=1-{0:08x}-012345678912345678912345",
    "uber-trace-id:{0:x}:1:0:1",
    "X-Cloud-Trace-Context: {0:032x}/1;o=1",
    "x-datadog-trace-id: {0}\r\nx-datadog-parent-id: {0}",
    "tracestate: a={0}\r\ntraceparent: 00-{0:032x}-00f067aa0ba902b7-01\r\nX-Request-Id: {0}",
)


@pytest.mark.parametrize("lines", TRACED)
def test_heads_that_differ_in_their_tracing_headers_are_parsed_once(lines: str) -> None:
    parser = RequestHeadParser(10**9)
    first = parser.read(head({}, lines.format(1) + "\r\n"))
    assert first is not None
    assert first.token == "t0ken"
    known = parser.read(head({}, lines.format(2) + "\r\n"))
    assert all(parser.read(head({}, lines.format(number) + "\r\n")) is known for number in range(3, 2_000))
    assert len(parser._known) == 1
    assert parser.read(head()) is known
    other = parser.read(head({"X-RhoConnect-API-TOKEN": "other"}, lines.format(3) + "\r\n"))
    assert other is not None
    assert other.token == "other"


@pytest.mark.parametrize("value", ["a\nb", "a\rX-RhoConnect-API-TOKEN: b", "a\0", "\xe9", "", " "])
def test_no_line_hides_in_a_tracing_header(value: str) -> None:
    parser = RequestHeadParser(10**9)
    for good in (head(), head({"tracestate": "a=1"}), head({"tracestate": "a=2"})):
        assert parser.read(good) is not None
    for name in ("tracestate", "X-Request-Id"):
        assert parser.read(head({name: value})) is None
        assert parser.read(head({name: "a", "X": value})) is None
    assert parser.read(head({}, "b3: 1\r\n folded\r\n")) is None


def test_a_tracing_header_hides_no_header_of_the_gateway() -> None:
    """A name that begins or ends with the name of a tracing header is another header."""
    parser = RequestHeadParser(10**9)
    parser.read(head({"b3": "1"}))
    for name in ("b34", "xb3", "x-tracestate", "tracestate-x"):
        assert parser.read(head({name: "1"})) is not parser.read(head())
    assert parser.read(head({}, "X-Request-Id: 1\r\nTransfer-Encoding: chunked\r\n")) is None


def test_many_tracing_headers_or_a_long_head_are_left_to_aiohttp() -> None:
    parser = RequestHeadParser(10**9)
    parser.read(head({"b3": "1"}))
    assert parser.read(head({}, "b3: 1\r\n" * 32)) is not None
    assert parser.read(head({}, "b3: 1\r\n" * 33)) is None
    assert parser.read(head({"baggage": "x" * HEAD_BYTES})) is None
    assert parser.read(head({"baggage": "x" * 8_000})) is parser.read(head())


def test_heads_of_one_size_with_a_traceparent_are_distinguished() -> None:
    """The last head with a `traceparent` is compared first: before its value, behind it, and the value."""
    parser = RequestHeadParser(10**9)
    for _ in range(3):
        for token, connection in itertools.product(("t0ken", "t1ken"), ("keep-alive", "close")):
            padding = "x" * (len("keep-alive") - len(connection))
            found = parser.read(
                head(
                    {"X-RhoConnect-API-TOKEN": token, "traceparent": TRACEPARENT},
                    f"Connection: {connection}\r\nX: x{padding}\r\n",
                )
            )
            assert found is not None
            assert (found.token, found.close) == (token, connection == "close")


@pytest.mark.parametrize("line_end", ["\n", "\r", "\0"])
def test_no_line_hides_in_a_traceparent(line_end: str) -> None:
    value = TRACEPARENT[:30] + line_end + TRACEPARENT[31:]
    parser = RequestHeadParser(10**9)
    for good in (head(), head({"traceparent": TRACEPARENT})):
        assert parser.read(good) is not None
        assert parser.read(head({"traceparent": value})) is None


def test_a_repeated_traceparent_is_left_to_aiohttp() -> None:
    parser = RequestHeadParser(10**9)
    for _ in range(2):
        for other in (TRACEPARENT, "x"):
            for name in ("Traceparent", "TRACEPARENT"):
                assert parser.read(head({"traceparent": TRACEPARENT}, f"{name}: {other}\r\n")) is None
                assert parser.read(head({"TRACEPARENT": other}, f"tracePARENT: {other}\r\n")) is None
        assert parser.read(head({"traceparent": TRACEPARENT})) is not None
        parser.read(head({"b3": "1"}))  # tracing headers are searched from now on
