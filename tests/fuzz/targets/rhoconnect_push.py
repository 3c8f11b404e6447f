"""The RhoConnect Push service: request lines, cookies, credentials, messages, requests in chunks."""

import hashlib
from typing import Final

from gateway.store.command_encoding import pack
from protocols.http1.request_parser import PushRequest
from protocols.numbers import INT64_MAX
from protocols.rhoconnect_push.ids import Ids
from protocols.rhoconnect_push.wire import (
    basic,
    instance_cookie,
    last_message,
    proper_cookies,
    read_line,
    read_message,
    same_user,
    without_instance,
)
from tests.fuzz.target import Target, plain
from tests.fuzz.targets.pings import BASIC

UUID: Final = "0e5f2b1a-1d52-4c7c-9b7e-2d1f6a3c9e01"


def old_id(kind: str, owner: str) -> str:
    """An id as rhoconnect-push makes it; `kind` is "instance", "cookie" or "token"."""
    return f"{UUID}:{hashlib.md5(f'{owner}{UUID}{kind}Secret'.encode()).hexdigest()}"


IDS: Final = Ids(b"a secret of this installation")
INSTANCE_ID: Final = old_id("instance", "usermike")
COOKIES: Final = f"instance={old_id('cookie', INSTANCE_ID)}"
LINES: Final = tuple(
    line.encode()
    for line in (
        f"GET /nextMessage/{INSTANCE_ID}?lastMessage=7",
        f"GET /nextMessage/{INSTANCE_ID}",
        "POST /instanceId",
        f"GET /instanceId/{INSTANCE_ID}",
        f"DELETE /instanceId/{INSTANCE_ID}",
        f"PUT /registrations/{INSTANCE_ID}/usermike/app1mike",
        f"DELETE /registrations/{INSTANCE_ID}/usermike/app1mike",
        f"POST /messageQueue/{old_id('token', 'app1mike')}",
    )
)
WORDS: Final = (
    b"lastMessage=",
    b"0x",
    b"&",
    b"?",
    b"/",
    b"#",
    b"%30",
    b"1e",
    b"Infinity",
    b"instance=",
    b":",
    b";",
)
MESSAGES: Final = (
    b'{"data":{"alert":"hello","do_sync":["A"],"vibrate":"2000"},"collapseId":5}',
    b'{"data":null}',
    b'{"data":{"a":1e300},"collapseId":1e21}',
)


def _line(data: bytes) -> None:
    method, _, target = data.decode("utf-8", "replace").partition(" ")
    call = read_line(method.upper(), target)
    last = last_message(target.partition("?")[2]) if call is None else call.last
    assert 0 <= last <= INT64_MAX
    pack(("POLL", last))


def _cookies(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    said = basic(text)
    repr(said)
    same_user("usermike", said)
    cookie = instance_cookie(text)
    proper_cookies(text)
    without_instance(text)
    for made in (cookie, text):
        IDS.made_for(made, "usermike")
        IDS.of_cookie(made, text)
        IDS.of_cookie(text, made)
        IDS.of_token(made, "someapp")


def _message(data: bytes) -> None:
    posted = read_message("application/json", data)
    pack(("POST", posted.data, posted.collapse or ""))


def _request(data: bytes) -> None:
    reading = PushRequest()
    cut = len(data) // 3
    for piece in (data[:cut], data[cut : 2 * cut], data[2 * cut :]):
        reading.feed(piece)
    repr((reading.target, reading.cookies, reading.body, reading.header(b"expect"), reading.keep))


_TAIL: Final = f" HTTP/1.1\r\nHost: push\r\nCookie: {COOKIES}\r\nContent-Length: 3\r\n\r\nabc".encode()
REQUESTS: Final = tuple(line + _TAIL for line in LINES)
HTTP_WORDS: Final = (
    *WORDS,
    *(b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"Expect: 100-continue\r\n"),
    *(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Cookie: instance=",
    ),
)
TARGETS: Final = (
    Target("rps-lines", plain(_line), LINES, WORDS, largest=8_192),
    Target("rps-cookies", plain(_cookies), (COOKIES.encode(), BASIC, f"{COOKIES}, b=c; d".encode()), WORDS),
    Target(
        "rps-messages",
        plain(_message),
        (*MESSAGES, b'{"data":[' + b"[1]," * 16_000),
        (b"data", b"collapseId"),
        tree="json",
    ),
    Target("rps-requests", plain(_request), REQUESTS, HTTP_WORDS),
)
