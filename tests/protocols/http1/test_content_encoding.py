"""Content-Encoding without a connection; `tests/gateway/http_api/test_bodies_encoding.py` sends such bodies."""

import gzip
import zlib
from collections.abc import Callable

import pytest

from protocols.errors import BodyTooLarge, MalformedBody, UnsupportedCoding
from protocols.http1.content_encoding import PIECE_BYTES, RATIO_MAX, BodyDecoder, decoder_of

BODY = b",".join(b'"user%d"' % number for number in range(20_000))


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def decoded(coding: str, *parts: bytes) -> bytes:
    decoder = decoder_of(coding)
    assert decoder is not None
    pieces = [piece for part in parts for piece in decoder.feed(part)]
    decoder.finish()
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_a_body_that_is_not_encoded_has_no_decoder(coding: str) -> None:
    assert decoder_of(coding) is None


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
def test_a_body_in_two_parts(coding: str, encode: Callable[[bytes], bytes]) -> None:
    data = encode(BODY)
    for at in (1, len(data) // 2, len(data) - 1):
        assert decoded(coding, data[:at], data[at:]) == BODY


def test_members_follow_each_other_up_to_a_limit() -> None:
    member = gzip.compress(b"ab")
    assert decoded("gzip", member * 16) == b"ab" * 16
    with pytest.raises(MalformedBody):
        decoded("gzip", member * 17)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"ab")[:-1], b"no gzip at all", gzip.compress(b"ab") + b"more"],
    ids=["cut", "no gzip", "more"],
)
def test_what_is_no_gzip_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBody):
        decoded("gzip", data)


def test_a_body_that_grows_too_much_is_refused() -> None:
    data = gzip.compress(b" " * 50_000_000)
    assert len(data) * RATIO_MAX < 50_000_000
    with pytest.raises(BodyTooLarge):
        list(BodyDecoder(gzip=True).feed(data))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "what"])
def test_other_codings_are_refused(coding: str) -> None:
    with pytest.raises(UnsupportedCoding) as refused:
        decoder_of(coding)
    assert refused.value.field == "Content-Encoding"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_empty_body_needs_no_encoding(coding: str) -> None:
    assert decoded(coding) == decoded(coding, b"") == b""
