import pytest
from hypothesis import given
from hypothesis import strategies as st
from ngh2 import ConnectionClosingError, NGH2Error, StreamProtocolError

from protocols.http2.outcome import OutcomeKind
from protocols.http2.stream_result import decide, error_name, goaway_text

A, T, U = OutcomeKind.ANSWERED, OutcomeKind.UNTRIED, OutcomeKind.UNKNOWN
OWN = StreamProtocolError("header block too large")
CLOSING = ConnectionClosingError("closing")


@pytest.mark.parametrize(
    ("status", "ended", "cut", "code", "local", "expected"),
    [
        (200, True, False, 0, None, (A, 200, "")),
        (410, True, False, 0, None, (A, 410, "")),
        (200, False, True, 8, None, (A, 200, "body cut")),
        (400, False, True, 8, None, (A, 400, "body cut")),
        (413, True, False, 0, None, (A, 413, "")),  # reset NO_ERROR after a whole early answer
        (413, True, False, 8, None, (A, 413, "")),
        (200, False, False, 2, None, (A, 200, "")),
        (503, False, False, 2, None, (U, 0, "reset INTERNAL_ERROR")),
        (0, True, False, 7, OWN, (A, 431, "not sent: header block too large")),
        (0, True, False, 7, CLOSING, (T, 0, "refused")),
        (0, True, False, 7, None, (T, 0, "refused")),
        (503, False, False, 7, None, (U, 0, "reset REFUSED_STREAM")),
        (0, True, False, 8, None, (U, 0, "reset CANCEL")),
        (0, True, False, 0, None, (U, 0, "reset NO_ERROR")),
        (0, True, False, 0x99, None, (U, 0, "reset error 0x99")),
    ],
)
def test_each_way_a_stream_can_end(
    status: int,
    ended: bool,
    cut: bool,
    code: int,
    local: NGH2Error | None,
    expected: tuple[OutcomeKind, int, str],
) -> None:
    assert decide(status, ended, cut, code, local) == expected


@pytest.mark.parametrize(
    ("code", "debug", "text"),
    [
        (0, b'{"reason":"Shutdown"}', "GOAWAY NO_ERROR Shutdown"),
        (0, b"", "GOAWAY NO_ERROR"),
        (11, b"too_many_pings", "GOAWAY ENHANCE_YOUR_CALM too_many_pings"),
        (1, b'{"other":1}', "GOAWAY PROTOCOL_ERROR other:1"),
        (1, b"[]", "GOAWAY PROTOCOL_ERROR"),
        (0x20, b"\x1b[31m\r\nX-Evil: 1", "GOAWAY error 0x20 31mX-Evil: 1"),
        (0, b"[" * 100_000, "GOAWAY NO_ERROR"),
    ],
)
def test_a_goaway_reads_as_one_safe_line(code: int, debug: bytes, text: str) -> None:
    assert goaway_text(code, debug) == text


@given(st.integers(0, 2**32 - 1), st.binary(max_size=500))
def test_no_goaway_makes_a_long_or_unprintable_line(code: int, debug: bytes) -> None:
    text = goaway_text(code, debug)
    assert text.isprintable() and text.isascii() and len(text) < 120


def test_error_codes_have_their_names() -> None:
    assert (error_name(7), error_name(0xD), error_name(0xE)) == (
        "REFUSED_STREAM",
        "HTTP_1_1_REQUIRED",
        "error 0xe",
    )
