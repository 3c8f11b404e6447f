"""Content-Encoding of request bodies, decoded in bounded chunks.

aiohttp could decode bodies itself, but it would continue to decode while it discards the rest of a refused body. Here a
body is decoded only as far as it is read, `PIECE_BYTES` at a time, and to at most `RATIO_MAX` times its encoded size.
"""

import zlib
from collections.abc import Iterator
from typing import Final

from protocols.errors import BodyTooLarge, MalformedBody, UnsupportedCoding

PIECE_BYTES: Final = 65_536
RATIO_MAX: Final = 100
"""Largest ratio of decoded to encoded size. JSON of a million similar logins compresses to a tenth or a twentieth;
deflate's own maximum is 1,032."""
_FREE_BYTES: Final = 65_536  # decoded bytes that are exempt from the ratio
_FREE_MEMBERS: Final = (
    16  # gzip members that are exempt from `_MEMBER_BYTES` (RFC 1952 §2.2); clients write one
)
_MEMBER_BYTES: Final = 1_024
"""Least encoded bytes for each further member, on average: starting one costs as much as decoding some kilobytes."""
_GZIP: Final = frozenset({"gzip", "x-gzip"})  # RFC 9110 §8.4.1.3
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class BodyDecoder:
    """Decoder of one body.

    Args:
        gzip: gzip; else deflate: zlib's format (RFC 9110 §8.4.1.2), or the raw format that some clients send.
    """

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS + 16 if gzip else zlib.MAX_WBITS)
        self._members = 1
        self._encoded_bytes = 0
        self._decoded_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode a chunk.

        Raises:
            MalformedBody: the data is not in this encoding.
            BodyTooLarge: the decoded data exceeds `RATIO_MAX` times the encoded size.
        """
        if not self._encoded_bytes and data and not self._gzip and data[0] & 0x0F != zlib.DEFLATED:
            self._inflate = zlib.decompressobj(_RAW_DEFLATE)
        self._encoded_bytes += len(data)
        more = bool(data)
        while more:
            piece = self._piece(data)
            self._decoded_bytes += len(piece)
            if self._decoded_bytes > max(_FREE_BYTES, self._encoded_bytes * RATIO_MAX):
                raise BodyTooLarge(f"the decoded body exceeds {RATIO_MAX} times its encoded size")
            if piece:
                yield piece
            data = self._left()
            more = bool(data) or len(piece) == PIECE_BYTES  # zlib may keep data that did not fit

    def finish(self) -> None:
        """Check that the encoded body is complete.

        Raises:
            MalformedBody: the encoded body is incomplete.
        """
        if self._encoded_bytes and not self._inflate.eof:
            raise _malformed()

    def _piece(self, data: bytes) -> bytes:
        if self._inflate.eof and data:
            self._next_member()
        try:
            return self._inflate.decompress(data, PIECE_BYTES)
        except zlib.error:
            raise _malformed() from None

    def _left(self) -> bytes:
        return self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail

    def _next_member(self) -> None:
        if not self._gzip:
            raise _malformed()
        self._members += 1
        if self._members > _FREE_MEMBERS + self._encoded_bytes // _MEMBER_BYTES:
            raise MalformedBody("the body has too many gzip members for its size")
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS + 16)


def decoder_of(content_encoding: str) -> BodyDecoder | None:
    """Return the decoder for a Content-Encoding header; None: the body is not encoded.

    Raises:
        UnsupportedCoding: the coding is not supported, or there are several.
    """
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding in _GZIP or coding == "deflate":
        return BodyDecoder(gzip=coding in _GZIP)
    raise UnsupportedCoding(
        "the Content-Encoding must be gzip, deflate or identity", field="Content-Encoding"
    )


def _malformed() -> MalformedBody:
    return MalformedBody("the body does not match its Content-Encoding")
