"""Bodies that are expensive to parse, of any size."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

_BOUNDARY: Final = b"edge"
MULTIPART: Final = f"multipart/form-data; boundary={_BOUNDARY.decode()}"
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
_PART: Final = b"--edge\r\n"
_LAST: Final = b"--edge--\r\n"
_BOMB_BYTES: Final = 1_300_000_000
_SPACES: Final = b" " * 1_000_000


class HostileBody(NamedTuple):
    """A kind of body.

    Attributes:
        name: its name.
        content_type: the Content-Type with which it is sent.
        full_bytes: its size if only `limits.body_bytes` limits it.
        make: makes a body of about this many bytes.
    """

    name: str
    content_type: str
    full_bytes: int
    make: Callable[[int], bytes]


def _disposition(parameters: bytes) -> bytes:
    return _PART + b"Content-Disposition: form-data" + parameters + b"\r\n\r\nbob\r\n" + _LAST


def _many_parameters(size: int) -> bytes:
    return _disposition(b"; a=b" * (size // 5))


def _continuations(size: int) -> bytes:
    count = size // 16
    return _disposition(b"".join(b"; name*%d*=bob" % number for number in range(count)))


def _tiny_parts(size: int) -> bytes:
    part = _PART + b'Content-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return part * (size // len(part)) + _LAST


def _plain_fields(size: int) -> bytes:
    lines = b"X-Field: 1\r\n" * (size // 12)
    return _PART + lines + b"\r\nbob\r\n" + _LAST


def _newlines(size: int) -> bytes:
    return _PART + b'Content-Disposition: form-data; name="user_id"\r\n\r\n' + b"\n" * size + _LAST


def _nested(size: int) -> bytes:
    begun = b"".join(
        b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (level, level + 1)
        for level in range(size // 58)
    )
    return _PART + b"Content-Type: multipart/mixed; boundary=0\r\n\r\n" + begun + _LAST


def _deep_lists(size: int) -> bytes:
    deep = b"[" * 900 + b"]" * 900
    return b'{"user_id":"bob","fcm":[' + b",".join([deep] * max(1, size // 1_801)) + b"]}"


def _long_badge(size: int) -> bytes:
    return b'{"user_id":"bob","badge":"' + b"1_" * (size // 2) + b'1"}'


def _unknown_keys(size: int) -> bytes:
    return b'{"user_id":"bob",' + _pairs(size) + b"}"


def _keys_in_fcm(size: int) -> bytes:
    return b'{"user_id":"bob","fcm":{' + _pairs(size) + b"}}"


def _pairs(size: int) -> bytes:
    return b",".join(b'"k%d":1' % number for number in range(max(1, size // 12)))


HOSTILE_BODIES: Final = (
    HostileBody("multipart, parameters in one header", MULTIPART, 2_000_000, _many_parameters),
    HostileBody("multipart, name*N*= continuations", MULTIPART, 2_000_000, _continuations),
    HostileBody("multipart, tiny parts", MULTIPART, 9_000_000, _tiny_parts),
    HostileBody("multipart, header fields", MULTIPART, 20_000_000, _plain_fields),
    HostileBody("multipart, newlines", MULTIPART, 31_000_000, _newlines),
    HostileBody("multipart, nested", MULTIPART, 2_000_000, _nested),
    HostileBody("JSON, lists 900 deep", JSON, 9_000_000, _deep_lists),
    HostileBody("JSON, badge 1_1_1…", JSON, 31_000_000, _long_badge),
    HostileBody("JSON, 2 million unknown keys", JSON, 24_000_000, _unknown_keys),
    HostileBody("JSON, 2 million keys in fcm", JSON, 24_000_000, _keys_in_fcm),
    HostileBody("form, a&a&…", FORM, 31_000_000, lambda size: b"a&" * (size // 2)),
)


@cache
def gzip_bomb() -> bytes:
    """1.3 MB that decompress to 1.3 GB."""
    return _packed(_BOMB_BYTES)


@cache
def small_gzip_bomb(limit_bytes: int) -> bytes:
    """The largest gzip body that is sent in at most `limit_bytes` bytes."""
    return _packed(limit_bytes * 900)


def _packed(size: int) -> bytes:
    """A gzip body of `size` spaces: one packed block, as often as needed (RFC 1952 §2.2)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(_SPACES) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum, count = 0, -(-size // len(_SPACES))
    for _ in range(count):
        checksum = zlib.crc32(_SPACES, checksum)
    trailer = struct.pack("<LL", checksum, count * len(_SPACES) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff" + block * count + packer.flush() + trailer
