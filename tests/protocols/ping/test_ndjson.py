"""Lines of a stream of bytes, independent of its chunks."""

import random

import pytest

from protocols.ping.ndjson import LineSplitter


def split(pieces: list[bytes], line_bytes: int = 100) -> list[bytes | None]:
    splitter = LineSplitter(line_bytes)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    found += splitter.finish()
    assert splitter.lines == len(found)
    return found


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"]),
        (b"\n\na\n\n", [b"", b"", b"a", b""]),
        (b"12345\n123456\n1\n", [b"12345", None, b"1"]),
        (b"12345\r\n123456\r\n", [b"12345", None]),
        (b"1234567890", [None]),
        (b"12345678901234567890\na\n", [None, b"a"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbfa", [b"a"]),
        (b"\xef\xbb\xbf12345\r\n\xef\xbb\xbf123\n", [b"12345", None]),
        (b"\xef\xbb\xbf12345", [b"12345"]),
        (b"\xef\xbb\xbf123456\n12345678\n", [None, None]),
    ],
)
def test_a_body_is_split_into_its_lines(body: bytes, lines: list[bytes | None]) -> None:
    def stripped(found: list[bytes | None]) -> list[bytes | None]:
        return [line and line.rstrip(b"\r") for line in found]

    wanted = stripped(lines)
    assert stripped(split([body], 5)) == wanted
    for size in range(1, len(body) + 1):
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        assert stripped(split(pieces, 5)) == wanted, size


def test_any_pieces_of_a_long_stream() -> None:
    dice = random.Random(7)
    wanted = [b"x" * dice.randrange(0, 90) for _ in range(2_000)]
    body = b"\n".join(wanted) + b"\n"
    pieces = []
    while body:
        size = dice.choice((1, 2, 3, 50, 500, 5_000))
        pieces.append(body[:size])
        body = body[size:]
    assert split(pieces) == wanted


def test_a_line_over_the_limit_is_not_stored() -> None:
    splitter = LineSplitter(1_000)
    most = 0
    for _ in range(1_000):
        assert splitter.feed(b"x" * 500) == []
        most = max(most, splitter.held)
    assert most <= 1_001
    assert splitter.feed(b"\nshort\n") == [None, b"short"]
