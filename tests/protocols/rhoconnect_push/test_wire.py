"""Requests of the service, parsed row by row (contract §9)."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError, InvalidField, MalformedBody
from protocols.rhoconnect_push.wire import (
    Basic,
    CallKind,
    ServiceCall,
    basic,
    instance_cookie,
    last_message,
    proper_cookies,
    read_line,
    read_message,
    same_user,
    without_instance,
)


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("POST", "/instanceId", ServiceCall(CallKind.CREATE)),
        ("POST", "/instanceId?x", None),
        ("GET", "/instanceId/i", ServiceCall(CallKind.COOKIE, "i")),
        ("GET", "/instanceId/i?x=/y", ServiceCall(CallKind.COOKIE, "i")),
        ("DELETE", "/instanceId/i#f", ServiceCall(CallKind.FORGET, "i")),
        ("DELETE", "/instanceId/", None),
        ("PUT", "/registrations/i/u/a", ServiceCall(CallKind.REGISTER, "i", "u", "a")),
        ("GET", "/registrations/i/u/a%20b", ServiceCall(CallKind.LOOK_UP, "i", "u", "a%20b")),
        ("DELETE", "/registrations//u/a", ServiceCall(CallKind.UNREGISTER, "", "u", "a")),
        ("PUT", "/registrations/i/u/", None),
        ("PUT", "/registrationsX/i/u/a", None),
        ("GET", "/nextMessage/i", ServiceCall(CallKind.POLL, "i")),
        ("GET", "/nextMessage/i?lastMessage=7", ServiceCall(CallKind.POLL, "i", last=7)),
        ("GET", "/nextMessageX/i", ServiceCall(CallKind.POLL, "i")),
        ("GET", "/nextMessage", None),
        ("GET", "/xnextMessage/i", None),
        ("POST", "/messageQueue/t", ServiceCall(CallKind.POST, "t")),
        ("POST", "/messageQueueX/t?q", ServiceCall(CallKind.POST, "t")),
        ("POST", "/messageQueue", ServiceCall(CallKind.POST)),
        ("POST", "/messageQueue/t/u", ServiceCall(CallKind.POST)),
        ("GET", "/messageQueue/t", None),
        ("GET", "http://push/nextMessage/i", None),
        ("POST", "//instanceId", ServiceCall(CallKind.CREATE)),
        ("PUT", "///registrations/i/u/a", ServiceCall(CallKind.REGISTER, "i", "u", "a")),
        ("POST", "//messageQueue/t", ServiceCall(CallKind.POST, "t")),
        ("GET", "//registrations//u/a", ServiceCall(CallKind.LOOK_UP, "", "u", "a")),
        ("GET", "//", None),
        ("GET", "", None),
    ],
)
def test_a_request_line_names_its_call(method: str, target: str, call: ServiceCall | None) -> None:
    assert read_line(method, target) == call


@pytest.mark.parametrize(
    ("query", "last"),
    [
        ("", 0),
        ("lastMessage=", 0),
        ("lastMessage=7", 7),
        ("lastMessage=+7", 7),
        ("lastMessage=%207%20", 7),
        ("a=b&lastMessage=7&c=d", 7),
        ("lastMessage=7.9", 7),
        ("lastMessage=1e3", 1000),
        ("lastMessage=0x10", 16),
        ("lastMessage=0x000000000000000000000000000010", 16),
        ("lastMessage=0x" + "f" * 3_600, 1 << 62),
        ("lastMessage=0xfffffffffffffff", 2**60 - 1),
        ("lastMessage=0x1000000000000000", 1 << 62),
        ("lastMessage=" + "9" * 5_000, 10**18 - 1),
        ("lastMessage=" + "0" * 5_000 + "7", 7),
        ("lastMessage=%2b" + "9" * 5_000, 1 << 62),
        ("lastMessage=%2b" + "0" * 500 + "7", 1 << 62),
        ("lastMessage=1e18", 10**18),
        ("lastMessage=1e19", 1 << 62),
        ("lastMessage=1e300", 1 << 62),
        ("lastMessage=1e99999", 1 << 62),
        ("lastMessage=-1e300", 0),
        ("lastMessage=-1e99999", 0),
        ("lastMessage=\u0663", 0),
        ("lastMessage=1_0", 0),
        ("lastMessage=0x1_0", 0),
        ("lastMessage=nan", 0),
        ("lastMessage=inf", 0),
        ("lastMessage=-7", 0),
        ("lastMessage=NaN", 0),
        ("lastMessage=undefined", 0),
        ("lastMessage=7x", 0),
        ("lastMessage=1_000", 0),
        ("lastMessage=\u0667", 0),
        ("lastMessage=1&lastMessage=2", 0),
        ("lastmessage=7", 0),
        ("lastMessage=Infinity", 1 << 62),
        ("lastMessage=1e999", 1 << 62),
    ],
)
def test_the_last_message_is_a_number_as_javascript_reads_it(query: str, last: int) -> None:
    assert last_message(query) == last


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        ("", ""),
        ("instance=", ""),
        ("instance=a:b", "a:b"),
        ("instance=a|b-c:d; other=1", "a|b-c:d"),
        ("other=1; instance=a:b", "a:b"),
        ("instance=a:b,rhoconnect_session=BAh7", "a:b"),
        ("Instance=A:b", "A:b"),
        ("my_instance=a:b", "a:b"),
        ("session=x", ""),
    ],
)
def test_the_instance_cookie_is_found_among_others(cookies: str, value: str) -> None:
    assert instance_cookie(cookies) == value


@pytest.mark.parametrize(
    ("cookies", "proper", "without"),
    [
        ("instance=a:b,s=1", "instance=a:b; s=1", "s=1"),
        ("instance=a:b, s=1", "instance=a:b; s=1", "s=1"),
        ("instance=a:b; s=1,2", "instance=a:b; s=1,2", "s=1,2"),
        ("s=1; instance=a:b", "s=1; instance=a:b", "s=1; "),
        ("s=1", "s=1", "s=1"),
    ],
)
def test_cookies_for_rhoconnect_and_cookies_that_identify_the_user(
    cookies: str, proper: str, without: str
) -> None:
    assert proper_cookies(cookies) == proper
    assert without_instance(proper) == without


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "credentials"),
    [
        (None, Basic("", "", False, "")),
        ("", Basic("", "", True, "")),
        ("Basic ", Basic("", "", True, "")),
        ("Bearer x", Basic("", "", True, "")),
        ("basic " + encoded("a:b"), Basic("", "", True, "")),
        ("Basic " + encoded("a:b"), Basic("a", "b", True, encoded("a:b"))),
        ("Basic " + encoded("a"), Basic("a", "", True, encoded("a"))),
        ("Basic " + encoded("a:b:c") + " more", Basic("a", "b:c", True, encoded("a:b:c"))),
        ("Basic " + encoded("ü:ß").rstrip("="), Basic("ü", "ß", True, encoded("ü:ß").rstrip("="))),
        ("Basic !!!", Basic("", "", True, "!!!")),
    ],
)
def test_basic_credentials_are_read(header: str | None, credentials: Basic) -> None:
    assert basic(header) == credentials


def test_credentials_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(basic("Basic " + encoded("a:hunter2")))
    assert encoded("a:hunter2") not in repr(basic("Basic " + encoded("a:hunter2")))


@pytest.mark.parametrize(
    ("path_user", "header", "same"),
    [
        ("a", None, True),
        ("a", "Basic " + encoded("a:b"), True),
        ("a%40b", "Basic " + encoded("a@b:c"), True),
        ("a@b", "Basic " + encoded("a@b:c"), True),
        ("b", "Basic " + encoded("a:b"), False),
        ("a", "", False),
        ("a", "Bearer x", False),
    ],
)
def test_the_credentials_must_be_of_the_user_in_the_path(
    path_user: str, header: str | None, same: bool
) -> None:
    assert same_user(path_user, basic(header)) is same


@pytest.mark.parametrize(
    ("body", "data", "collapse"),
    [
        (b'{"data":{}}', b"{}", None),
        (b'{"data":null}', b"{}", None),
        (b' {"data" : {"a": [1, "\\u00e9"]}} ', '{"a":[1,"é"]}'.encode(), None),
        (b'{"data":{},"collapseId":5}', b"{}", "5"),
        (b'{"data":{},"collapseId":5.0}', b"{}", "5"),
        (b'{"data":{},"collapseId":-1.5}', b"{}", "-1.5"),
        (b'{"data":{},"collapseid":5}', b"{}", None),
        (b'{"data":{},"token":"x"}', b"{}", None),
    ],
)
def test_a_message_is_read(body: bytes, data: bytes, collapse: str | None) -> None:
    assert read_message("application/json", body) == (data, collapse)


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("", b'{"data":{}}', MalformedBody),
        ("application/json; charset=utf-8", b'{"data":{}}', MalformedBody),
        ("application/json", b"", InvalidField),
        ("application/json", b"{", MalformedBody),
        ("application/json", b"\xff", MalformedBody),
        ("application/json", b"[]", MalformedBody),
        ("application/json", b"null", MalformedBody),
        ("application/json", b"{}", InvalidField),
        ("application/json", b'{"data":"x"}', InvalidField),
        ("application/json", b'{"data":{},"collapseId":false}', InvalidField),
        ("application/json", b"[" * 3000, MalformedBody),
    ],
)
def test_invalid_messages_are_refused(content_type: str, body: bytes, error: type[InputError]) -> None:
    with pytest.raises(error):
        read_message(content_type, body)


@pytest.mark.parametrize("body", [b'{"data":"\xff"}', b'{"data":{},}', b'{"data":"\\ud800"}'])
def test_invalid_json_is_refused_in_our_own_words(body: bytes) -> None:
    with pytest.raises(MalformedBody, match=r"^the body is not JSON$"):
        read_message("application/json", body)


VALUES = st.none() | st.integers() | st.text() | st.dictionaries(st.text(), st.text())
OBJECTS = st.dictionaries(st.sampled_from(("data", "collapseId", "more")), VALUES)


@given(st.binary() | OBJECTS.map(lambda found: json.dumps(found).encode()))
def test_any_body_is_a_message_or_an_input_error(body: bytes) -> None:
    try:
        found = read_message("application/json", body)
    except InputError:
        return
    assert isinstance(json.loads(found.data), dict)
    assert b"\n" not in found.data


@given(st.text(), st.text())
def test_any_request_line_is_a_call_or_none(method: str, target: str) -> None:
    call = read_line(method, target)
    assert call is None or call.kind in CallKind


@given(st.text())
def test_any_header_has_credentials_or_none(header: str) -> None:
    assert basic(header).given
    assert isinstance(instance_cookie(proper_cookies(header)), str)


@pytest.mark.parametrize("text", ["9" * 8_000 + "x", "9" * 8_000 + ".x", "." + "9" * 8_000 + "e"])
def test_a_long_text_that_is_no_number_is_none(text: str) -> None:
    assert last_message(f"a=b&lastMessage={text}") == 0


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("levels", [300, 1_000, 20_000])
def test_data_that_cannot_be_written_again_is_malformed(opening: bytes, closing: bytes, levels: int) -> None:
    body = b'{"data":{"a":' + opening * levels + b"1" + closing * levels + b"}}"
    with pytest.raises(MalformedBody):
        read_message("application/json", body)


@pytest.mark.parametrize(
    ("number", "text"),
    [("5.0", "5"), ("1e20", "100000000000000000000"), ("1e21", "1e+21"), ("-1e300", "-1e+300")],
)
def test_a_collapse_id_is_written_as_javascript_does(number: str, text: str) -> None:
    body = f'{{"data":{{}},"collapseId":{number}}}'.encode()
    assert read_message("application/json", body).collapse == text
