"""The parts of a request that routes read."""

from collections.abc import Generator

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from gateway.http_api.requests import cookie, run_in_steps, text_of
from gateway.scheduling.scheduler import Scheduler
from protocols.errors import InvalidField
from tests.gateway.http_api.harness import House, call, request, wire

USERS = "/rc/v1/users"
JSON = {"attributes": {"login": "bob", "password": "secret"}}
CHUNKED = {"Content-Length": None, "Transfer-Encoding": "chunked"}


def test_a_parameter_is_a_text_or_is_missing() -> None:
    assert text_of({"login": "bob"}, "login") == "bob"
    assert text_of({"login": None}, "login") == text_of({}, "login") == ""
    with pytest.raises(InvalidField, match="login must be a text, not a list") as refused:
        text_of({"login": ["bob"]}, "login")
    assert refused.value.field == "login"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (None, ""),
        ("a=1", "1"),
        ("b=2; a=1;c", "1"),
        ("a=1;a=2", "1"),
        ("a=;a=2", ""),
        (' a = "x=y" ; aa=3', "x=y"),
        ("a", ""),
        ('a="', '"'),
        ("aa=1; b a=2; A=3", ""),
    ],
)
def test_a_cookie_is_found_by_its_name(header: str | None, value: str) -> None:
    headers = {} if header is None else {"Cookie": header}
    assert cookie(make_mocked_request("GET", "/", headers=headers), "a") == value


def test_all_cookie_headers_count() -> None:
    headers = CIMultiDict([("Cookie", "instance=x"), ("cookie", "a=1; b=2"), ("Cookie", "a=3")])
    assert cookie(make_mocked_request("GET", "/", headers=headers), "a") == "1"
    assert cookie(make_mocked_request("GET", "/", headers=headers), "instance") == "x"


async def test_steps_end_with_their_result() -> None:
    def steps() -> Generator[None, None, str]:
        yield
        yield
        return "done"

    assert await run_in_steps(steps(), Scheduler()) == "done"


async def test_a_body_goes_over_the_query(both: House) -> None:
    answer = await call(both, {"message": "body"}, path="/api/ping?user_id=ann&message=query")
    assert answer.status == 200
    ping = both.queue.pings[0]
    assert (ping.users, ping.message) == (("ann",), "body")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[1]", "must be a JSON object"),
        (b'{"a": ', "malformed"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested"),
        (b'{"a": "' + b"[," * 60_000 + b'"}', "more than 100000 values"),
    ],
    ids=["list", "cut", "deep", "many"],
)
async def test_a_json_body_of_a_route_is_a_bounded_object(both: House, body: bytes, words: str) -> None:
    answer = await call(both, body, path=USERS)
    assert (answer.status, answer.error["code"]) == (400, "malformed_body")
    assert words in answer.error["message"]


async def test_an_empty_body_has_no_parameters(both: House) -> None:
    assert (await call(both, b"  ", path=USERS)).status == (await call(both, {}, path=USERS)).status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(method="CONNECT", path="gateway:80", headers={"Content-Length": None}), 400),
        (request(path=USERS, headers={**CHUNKED, "Transfer-Encoding": "gzip, chunked"}) + b"0\r\n\r\n", 400),
        (request(path=USERS, headers=CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0", 1) + b"0\r\n\r\n", 400),
        (request(path=USERS, headers={"Transfer-Encoding": ""}), 400),
    ],
    ids=["connect", "codings", "old", "empty coding"],
)
async def test_a_request_whose_end_is_not_clear_ends_its_connection(
    both: House, data: bytes, status: int
) -> None:
    async with wire(both.port) as client:
        client.send(data)
        answer = await client.answer()
        assert answer.status == status
        assert await client.rest() == b""


@pytest.mark.parametrize("length", [2**64 - 1, "0" * 20 + str(2**64 - 1), 2**63, 10**30])
@pytest.mark.parametrize("path", ["/rc/v1/users/ping", "/healthz", "/console/login"])
async def test_a_length_beyond_any_body_ends_the_connection(
    both: House, path: str, length: int | str
) -> None:
    """httptools takes 2^64 - 1 for a missing length: what follows must not be read as the next request."""
    head = f"GET {path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: {length}\r\n\r\n".encode()
    async with wire(both.port) as client:
        client.send(head + b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        answers = await client.answers()
    assert [answer.status // 100 for answer in answers] == [4]


@pytest.mark.parametrize("path", ["/rc/v1/users/ping", "/rc/v1/users", "/nowhere"])
async def test_a_length_with_thousands_of_zeros_is_refused(both: House, path: str) -> None:
    """It has more digits than `int` takes."""
    body = b'{"user_id":"bob"}'
    async with wire(both.port) as client:
        client.send(request(body, path=path, headers={"Content-Length": "0" * 5_000 + str(len(body))}))
        assert (await client.answer()).status == 400


async def test_a_length_with_leading_zeros_is_a_length(both: House) -> None:
    async with wire(both.port) as client:
        body = b"user_id=bob&message=hello"
        client.send(
            request(
                body,
                headers={
                    "Content-Length": f"{len(body):040}",
                    "Content-Type": "application/x-www-form-urlencoded",
                },
            )
        )
        assert (await client.answer()).status == 200
