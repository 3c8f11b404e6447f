"""Multipart forms: what is read of them, and what they may not cost."""

import pytest

from tests.gateway.http_api.harness import TOKEN, Answer, House, call

HEADERS = {"Content-Type": "multipart/form-data; boundary=edge"}
NAMED = 'Content-Disposition: form-data; name="%s"'


def part(value: str | bytes, *headers: str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return b"--edge\r\n" + "".join(f"{line}\r\n" for line in headers).encode() + b"\r\n" + value + b"\r\n"


END = b"--edge--\r\n"
BOB = part("bob", NAMED % "user_id")


async def send(api: House, *parts: bytes, token: str | None = TOKEN) -> Answer:
    return await call(api, b"".join(parts), token=token, headers=HEADERS)


async def test_values_are_read_as_of_a_form(both: House) -> None:
    answer = await send(
        both,
        b"a line before\r\n",
        part("bob", NAMED % "user_id[]", "Content-Type: text/plain"),
        part("eve", 'content-disposition: form-data; filename="a;b;c"; name=user_id[]'),
        part("a=b&c\r\n--edg\r\n\u00e9", NAMED % "message"),
        part("aGVsbG8=", NAMED % "title", "Content-Transfer-Encoding: base64"),
        part("nothing", "X-Other: 1"),
        part("5", r'Content-Disposition: form-data; name="ba\dge"'),
        part(TOKEN, NAMED % "api_token"),
        END,
        token=None,
    )
    assert answer.status == 200, answer.body
    (ping,) = both.queue.pings
    assert (ping.users, ping.message, ping.title, ping.badge) == (
        ("bob", "eve"),
        "a=b&c\r\n--edg\r\n\u00e9",
        "hello",
        5,
    )


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"no part at all",),
        (BOB,),
        (BOB.replace(b"--edge", b"--other"),),
        (part("x", "Content-Type: multipart/mixed; boundary=inner"), END),
        (
            part(b"--inner\r\n\r\nx\r\n--inner--\r\n", "Content-Type: multipart/form-data; boundary=inner"),
            END,
        ),
        (part("x", "Content-Type: multipart/mixed"), END),
        (part("x", NAMED % "title", "Content-Transfer-Encoding: base64"), END),
        (part("x", NAMED % "title", "Content-Transfer-Encoding: other"), END),
        (part("x", "no header"), END),
        (part("x", *[f"X-{n}: 1" for n in range(100)]), END),
        (part("x", "X: " + "y" * 3_000), END),
        (b"\r\n" * 30_000, BOB, END),
        (part("", NAMED % "a") * 5_000, END),
        (part(b"\xff", NAMED % "message"), END),
        (b'--edge\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n', END),
    ],
    ids=[
        "nothing",
        "no part",
        "no end",
        "another boundary",
        "nested",
        "nested form",
        "nested without boundary",
        "no base64",
        "unknown coding",
        "no header",
        "headers",
        "long header",
        "lines before",
        "parts",
        "value not UTF-8",
        "name not UTF-8",
    ],
)
async def test_invalid_or_oversized_multipart_bodies_are_400(both: House, parts: tuple[bytes, ...]) -> None:
    answer = await send(both, *parts)
    assert (answer.status, answer.error["code"]) == (400, "malformed_body")


@pytest.mark.parametrize(
    "header",
    [
        'Content-Disposition: form-data; name="user_id"' + "; a=b" * 380,
        "Content-Disposition: form-data" + "".join(f"; name*{n}*=x" for n in range(130)),
        "Content-Disposition: form-data; " + "a" * 1_900,
        "Content-Disposition: form-data" + ';"' * 900,
    ],
    ids=["parameters", "continuations", "no parameter", "quotes"],
)
async def test_odd_dispositions_are_read_quickly(both: House, header: str) -> None:
    assert (await send(both, part("bob", header), END)).status == 200


async def test_a_long_value_names_its_parameter(both: House) -> None:
    for size, word in ((100_000, "message may have at most 65536"), (1_000_000, "message may have at most")):
        answer = await send(both, BOB, part("x" * size, NAMED % "message"), END)
        assert (answer.status, answer.error["field"]) == (400, "message")
        assert word in answer.error["message"]


async def test_other_routes_read_them_too(both: House) -> None:
    answer = await call(
        both,
        part("bob", NAMED % "attributes[login]") + part("secret", NAMED % "attributes[password]") + END,
        path="/rc/v1/users",
        headers=HEADERS,
    )
    assert (answer.status, answer.body) == (200, b"User created")


async def test_a_cut_body_and_a_long_one_are_answered_as_others(both: House) -> None:
    both.set(limits={"unauthenticated_body_bytes": 1_000})
    assert (await send(both, BOB, part("x" * 1_000, NAMED % "message"), END, token=None)).status == 413
    assert (await send(both, BOB, part("x" * 1_000, NAMED % "message"), END)).status == 200
