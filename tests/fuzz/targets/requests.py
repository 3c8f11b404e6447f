"""Parts of a request that have a reader of their own: encoded bodies, preferences, the addresses of proxies."""

import gzip
import zlib
from typing import Final

from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http_api.client_address import ClientAddresses, address_group
from gateway.http_api.ping import preferences, preferred_wait_s, prefers_representation
from protocols.http1.content_encoding import RATIO_MAX, decoder_of
from tests.fuzz.target import Target, plain
from tests.fuzz.targets.pings import JSON_SEEDS

_FREE_BYTES: Final = 1 << 20
"""More than a decoder gives before it compares what it made with what came."""


def _decoded(data: bytes) -> None:
    """The first line names the coding."""
    name, _, body = data.partition(b"\n")
    decoder = decoder_of(name.decode("latin-1"))
    if decoder is None:
        return
    made, cut = 0, len(body) // 2
    for piece in (body[:cut], body[cut:]):
        made += sum(len(part) for part in decoder.feed(piece))
    decoder.finish()
    assert made <= max(_FREE_BYTES, RATIO_MAX * len(body))


def _preferred(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").split("\n")
    request = make_mocked_request("POST", "/", CIMultiDict(("Prefer", line) for line in lines))
    preferences(request)
    prefers_representation(request)
    wait_s = preferred_wait_s(request)
    assert wait_s is None or 0 <= wait_s < 1e12


_BEHIND: Final = ClientAddresses(("10.0.0.0/8", "192.0.2.1", "2001:db8::/32"))
_PEER: Final = "10.0.0.1"


def _forwarded(data: bytes) -> None:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    found = _BEHIND.client(_PEER, lines)
    assert 1 <= found.hops <= len(data) + 1
    assert found.address.isascii(), "what is no address is not believed"
    address_group(found.address)
    address_group(lines[0])
    assert _BEHIND.client("198.51.100.7", lines).address == "198.51.100.7", (
        "only trusted proxies are believed"
    )


def _codings() -> tuple[bytes, ...]:
    body = JSON_SEEDS[0]
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bare = raw.compress(body) + raw.flush()
    packed = gzip.compress(body, mtime=0)
    return (
        *(b"gzip\n" + packed, b"x-gzip\n" + packed * 2, b"deflate\n" + zlib.compress(body)),
        *(b"deflate\n" + bare, b"identity\n{}", b"gzip, gzip\n" + packed, b"br\n"),
        *(b"gzip\n" + gzip.compress(bytes(3_000_000), mtime=0), b"gzip\n" + gzip.compress(b"", mtime=0) * 40),
    )


_CODING_WORDS: Final = (b"gzip\n", b"deflate\n", b"\x1f\x8b\x08\0", b"\x78\x9c", b"\0\0\xff\xff", b"\3\0")
TARGETS: Final = (
    Target("content-codings", plain(_decoded), _codings(), _CODING_WORDS),
    Target(
        "prefer",
        plain(_preferred),
        (b"return=representation", b'wait=5, return="minimal"; x=y', b"wait=100\nrespond-async", b"handling"),
        (b"wait=", b"return=", b",", b";", b'"', b"=", b"\n"),
    ),
    Target(
        "forwarded-for",
        plain(_forwarded),
        (
            *(b"198.51.100.1, 10.0.0.2", b"[2001:db8::1]:80, 10.0.0.2:443", b"unknown\n::ffff:10.0.0.3"),
            *(b"fe80::1%eth0, 2001:db8::2", b"203.0.113.9, " + b"10.1.1.1, " * 40, b"_hidden, 192.0.2.1"),
        ),
        (b",", b"10.0.0.1", b"[", b"]:", b"%", b"::", b"\n", b"/8"),
    ),
)
