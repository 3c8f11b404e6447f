"""Encoded request bodies: what they count and what they may cost."""

import gzip
import json
import zlib

import pytest

from tests.gateway.http_api.harness import TOKEN, House, call
from tests.gateway.http_api.test_bodies import SMALL


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate"])
async def test_an_encoded_body_counts_by_its_decoded_size(both: House, encoding: str) -> None:
    def packed(body: bytes) -> bytes:
        if encoding.endswith("gzip"):
            return gzip.compress(body)
        return zlib.compress(body) if encoding == "deflate" else zlib.compress(body, wbits=-15)

    users = [f"user{number}" for number in range(8_000)]
    body = json.dumps({"user_id": users}).encode()
    assert len(packed(body)) < SMALL < len(body)
    headers = {"Content-Encoding": encoding.removeprefix("raw ")}
    assert (await call(both, packed(body), token=None, headers=headers)).status == 413
    assert (await call(both, packed(body), headers=headers)).status == 200
    assert both.queue.pings[0].users == tuple(users)
    small = json.dumps({"user_id": "bob", "api_token": TOKEN}).encode()
    assert (await call(both, packed(small), token=None, headers=headers)).status == 200


async def test_members_of_gzip_follow_each_other(both: House) -> None:
    body = gzip.compress(b'{"user_id":') + gzip.compress(b'"bob"}')
    assert (await call(both, body, headers={"Content-Encoding": "gzip"})).status == 200
    many = b"".join(gzip.compress(b" ") for _ in range(1_000))
    answer = await call(both, many, headers={"Content-Encoding": "gzip"})
    assert (answer.status, "too many gzip members" in answer.error["message"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * 10_000_000, 1), "gzip", 413),
        (zlib.compress(b" " * 10_000_000, 1), "deflate", 413),
        (gzip.compress(b'{"user_id":"bob"}')[:-9], "gzip", 400),
        (b'{"user_id":"bob"}', "gzip", 400),
        (zlib.compress(b'{"user_id":"bob"}') + b"more", "deflate", 400),
        (b'{"user_id":"bob"}', "br", 415),
        (b'{"user_id":"bob"}', "zstd", 415),
        (b'{"user_id":"bob"}', "gzip, gzip", 415),
        (b'{"user_id":"bob"}', "what", 415),
        (b'{"user_id":"bob"}', "Identity", 200),
    ],
    ids=["bomb", "deflate bomb", "cut", "none", "more", "br", "zstd", "two", "what", "identity"],
)
async def test_the_encoding_of_a_body_decides_the_status(
    both: House, body: bytes, encoding: str, status: int
) -> None:
    answer = await call(both, body, headers={"Content-Encoding": encoding})
    assert answer.status == status, answer.body
