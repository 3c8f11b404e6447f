"""Which heads the fast path takes: each rule of the table, one byte from a good head."""

import pytest

from gateway.http_api.request_head import BODY_BYTES, HEAD_BYTES, PREFIX, RequestHeadParser, may_be_ping

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


def test_a_plain_head() -> None:
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
def test_taken(changes: dict[str, str | None], extra: str, expected: tuple[str, str | None, bool]) -> None:
    found = RequestHeadParser(10**9).read(head(changes, extra))
    assert found is not None
    assert (found.token, found.key, found.close) == expected


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({"Host": None}, ""),
        ({"Content-Length": None}, ""),
        ({"Content-Length": "+1"}, ""),
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
def test_left_to_aiohttp(changes: dict[str, str | None], extra: str) -> None:
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
def test_the_longest_body(limit: int, length: int, taken: bool) -> None:
    assert (RequestHeadParser(limit).read(head({"Content-Length": str(length)})) is not None) == taken


def test_heads_are_remembered_but_not_those_that_come_once_or_without_end() -> None:
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
def test_the_beginning_of_a_head(start: bytes, ours: bool) -> None:
    assert may_be_ping(start) == ours
