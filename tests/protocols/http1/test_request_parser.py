"""Requests in one piece and byte by byte, with pipelined data, and invalid input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.http1.request_parser import BODY_BYTES_MAX, HEAD_BYTES_MAX, PushRequest, RefusedRequest

REQUEST = (
    b"POST /messageQueue/t?q=1 HTTP/1.1\r\nHost: push\r\nCookie: a=1\r\ncookie: b=2\r\n"
    b"Content-Type: application/json\r\nContent-Length: 11\r\n\r\n"
    b'{"data":{}}'
)
CHUNKED = b'POST /x HTTP/1.1\r\nHost: push\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"dat\r\n6\r\na":{}}\r\n0\r\n\r\n'


def read(*parts: bytes) -> PushRequest:
    reading = PushRequest()
    for part in parts:
        reading.feed(part)
    return reading


def seen(reading: PushRequest) -> tuple[object, ...]:
    return (reading.method, reading.target, reading.cookies, reading.body, reading.complete, reading.keep)


@pytest.mark.parametrize("size", [1, 2, 3, 50, 10_000])
def test_chunks_make_the_same_request(size: int) -> None:
    reading = read(*(REQUEST[start : start + size] for start in range(0, len(REQUEST), size)))
    assert seen(reading) == ("POST", "/messageQueue/t?q=1", "a=1; b=2", b'{"data":{}}', True, True)
    assert reading.header(b"content-type") == "application/json"
    assert reading.header(b"authorization") is None
    assert not reading.overrun


def test_a_body_may_come_in_chunks() -> None:
    assert read(CHUNKED).body == b'{"data":{}}'


def test_pipelined_data_is_noted_and_changes_nothing() -> None:
    alone, followed = read(REQUEST), read(REQUEST + REQUEST[:60])
    assert followed.overrun
    assert seen(followed) == seen(alone)


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, keep: bool) -> None:
    assert read(head).keep is keep


def test_the_expectation_of_100_continue_is_noted() -> None:
    reading = read(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert (reading.expects, reading.complete) == (True, False)


@pytest.mark.parametrize(
    ("version", "expectation", "noted"),
    [
        ("1.1", "100-Continue", True),
        ("1.0", "100-continue", False),
        ("1.1", "other", False),
        ("1.1", "", False),
    ],
)
def test_only_the_expectation_of_http_1_1_is_noted(version: str, expectation: str, noted: bool) -> None:
    head = f"PUT / HTTP/{version}\r\nExpect: {expectation}\r\nContent-Length: 3\r\n\r\n"
    assert read(head.encode()).expects is noted


def filled(size: int) -> bytes:
    """A head whose target, names and values have this many bytes."""
    return b"GET / HTTP/1.1\r\nX: " + b"x" * (size - 2) + b"\r\n\r\n"


def test_a_head_beyond_its_limit_is_refused() -> None:
    assert read(filled(HEAD_BYTES_MAX)).complete
    with pytest.raises(RefusedRequest) as refused:
        read(filled(HEAD_BYTES_MAX + 1))
    assert refused.value.answer == 431
    with pytest.raises(RefusedRequest) as refused:
        read(b"GET / HTTP/1.1\r\n", *([b"X: y\r\n"] * HEAD_BYTES_MAX))
    assert refused.value.answer == 431


def test_a_body_beyond_its_limit_is_refused() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert read(head % BODY_BYTES_MAX, b"x" * BODY_BYTES_MAX).complete
    with pytest.raises(RefusedRequest) as refused:
        read(head % (BODY_BYTES_MAX + 1), b"x" * (BODY_BYTES_MAX + 1))
    assert refused.value.answer == 413


@pytest.mark.parametrize("length", ["18446744073709551615", "0" * 20 + "18446744073709551615", "9" * 18])
def test_a_length_beyond_any_body_is_refused_with_the_head(length: str) -> None:
    """llhttp takes 2^64 - 1 for a missing length: what follows must not be read as the next request."""
    with pytest.raises(RefusedRequest) as refused:
        read(f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
    assert refused.value.answer == 413


@given(st.binary(max_size=200), st.integers(1, 20))
def test_invalid_input_is_refused_or_incomplete(garbage: bytes, size: int) -> None:
    try:
        reading = read(*(garbage[start : start + size] for start in range(0, len(garbage), size)))
    except RefusedRequest as refused:
        assert refused.answer == 400
    else:
        assert not reading.complete or reading.method


def test_of_a_body_over_the_limit_only_its_beginning_is_stored() -> None:
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    reading = PushRequest()
    with pytest.raises(RefusedRequest):
        reading.feed(b"POST /x HTTP/1.1\r\nHost: push\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 500)
    assert len(reading.body) <= BODY_BYTES_MAX + 1_024


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_trailer_field_is_no_header_field(size: int) -> None:
    trailers = b"Authorization: Basic eDp5\r\nCookie: instance=a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
    request = CHUNKED.removesuffix(b"\r\n") + trailers
    reading = read(*(request[start : start + size] for start in range(0, len(request), size)))
    assert (reading.complete, reading.body) == (True, b'{"data":{}}')
    assert (reading.header(b"authorization"), reading.cookies) == (None, "")
    assert reading.list_of(b"x-forwarded-for") == ""


def test_trailer_fields_count_towards_the_limit_of_the_head() -> None:
    trailer = b"X: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n"
    with pytest.raises(RefusedRequest) as refused:
        read(CHUNKED.removesuffix(b"\r\n") + trailer)
    assert refused.value.answer == 431
