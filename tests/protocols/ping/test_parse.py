"""Complete parsing of a ping from JSON, from a form and from a query (contract §1.2, §10)."""

import string
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError, InvalidField, MalformedBody
from protocols.ping import (
    Ping,
    Submission,
    from_form,
    from_json,
    from_json_and_query,
    from_params,
    json_in_steps,
)
from protocols.ping.parse import ExplainOptions, from_line

RUBY = (
    b'{"api_token":"my-rhoconnect-token","user_id":["testuser","testuser1"],"sources":"Product",'
    b'"message":"hello world","vibrate":2000,"sound":"hello.mp3"}'
)
DOTNET = (
    b'{"user_id":["testuser"],"message":"hello \\u0027world\\u0027","vibrate":"2000","sound":"hello.mp3",'
    b'"source_id":"Product"}'
)
JAVA = (
    b'{"api_token":"my-rhoconnect-token","user_id":"testuser","source_id":"Product","message":"hello world",'
    b'"vibrate":"2000","sound":"hello.mp3"}'
)


def test_the_ping_of_the_ruby_sender_is_read() -> None:
    assert from_json(RUBY) == Submission(
        Ping(
            users=("testuser", "testuser1"),
            sources=("Product",),
            message="hello world",
            vibrate=2000,
            sound="hello.mp3",
        ),
        api_token="my-rhoconnect-token",
    )


def test_the_dotnet_and_java_senders_name_their_source_by_source_id() -> None:
    dotnet, java = from_json(DOTNET), from_json(JAVA)
    assert dotnet.ping.message == "hello 'world'"
    assert java.api_token == "my-rhoconnect-token"
    for submission in (dotnet, java):
        ping = submission.ping
        assert (ping.users, ping.sources, ping.vibrate) == (("testuser",), ("Product",), 2000)
        assert submission.unknown == ()


def test_the_form_of_the_web_console_is_read() -> None:
    body = (
        b"user_id%5B%5D=bob&user_id%5B%5D=amy&message=push+message&vibrate=2000&sound=welcome.mp3"
        b"&badge=1&sources%5B%5D=Product&sources%5B%5D=Customer"
    )
    assert from_form(body, "").ping == Ping(
        users=("bob", "amy"),
        sources=("Product", "Customer"),
        message="push message",
        badge=1,
        sound="welcome.mp3",
        vibrate=2000,
    )


def test_all_parameters_are_parsed_together() -> None:
    body = msgspec.json.encode(
        {
            "user_id": "bob",
            "sources": "all",
            "message": {"any": ["json"]},
            "title": "T",
            "badge": "5x",
            "sound": "s.mp3",
            "vibrate": "300",
            "ttl_s": "60",
            "priority": "High",
            "collapse_id": "c",
            "apns": {"aps": {"category": "c"}},
            "fcm": {"data": {"k": "v"}},
            "wait": True,
            "async": "true",
            "api_token": "t",
            "source_id": "not looked at",
        }
    )
    assert from_json(body) == Submission(
        Ping(
            users=("bob",),
            sources=("all",),
            message={"any": ["json"]},
            title="T",
            badge=5,
            sound="s.mp3",
            vibrate=300,
            ttl_s=60,
            priority="high",
            collapse_id="c",
            apns={"aps": {"category": "c"}},
            fcm={"data": {"k": "v"}},
        ),
        wait=True,
        asynchronous=True,
        api_token="t",
    )


def test_an_empty_body_is_a_ping_without_parameters() -> None:
    for submission in (from_json(b""), from_json(b" \r\n"), from_json(b"{}"), from_form(b"", "")):
        assert submission == Submission(Ping())


def test_null_is_a_missing_value() -> None:
    names = ("user_id", "sources", "source_id", "message", "title", "badge", "sound", "vibrate", "ttl_s")
    names += ("priority", "collapse_id", "apns", "fcm", "wait", "async", "api_token")
    assert from_json(msgspec.json.encode(dict.fromkeys(names))) == Submission(Ping())


def test_source_id_counts_only_where_sources_is_absent() -> None:
    assert from_json(b'{"sources":null,"source_id":"A"}').ping.sources == ("A",)
    assert from_json(b'{"sources":"B","source_id":"A"}').ping.sources == ("B",)
    assert from_json(b'{"sources":[],"source_id":"A"}').ping.sources == ()


def test_async_false_means_false() -> None:
    assert not from_json(b'{"async":false}').asynchronous
    assert not from_form(b"async=false", "").asynchronous
    assert from_json(b'{"async":true}').asynchronous


def test_a_token_of_another_type_is_no_token() -> None:
    assert from_json(b'{"api_token":5}').api_token is None


def test_the_token_is_not_shown() -> None:
    assert "my-rhoconnect-token" not in repr(from_json(RUBY))
    assert "hello world" in repr(from_json(RUBY))


def test_unknown_fields_are_named_in_order_and_the_rest_still_counts() -> None:
    submission = from_json(b'{"massage":"x","user_id":"bob","Message":"y","badge":1}')
    assert submission.unknown == ("massage", "Message")
    assert submission.ping == Ping(users=("bob",), badge=1)


def test_a_user_id_that_was_not_understood_is_named() -> None:
    assert from_json(b'{"user_id":42}') == Submission(Ping(), unknown=("user_id",))
    assert from_json(b'{"x":1,"user_id":["bob",42]}').unknown == ("x", "user_id")


def test_the_names_of_unknown_fields_are_bounded() -> None:
    assert len(from_json(msgspec.json.encode({f"x{i}": 1 for i in range(1000)})).unknown) == 32


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ("message=query", b"{}", "query"),
        ("message=query", b'{"message":"body"}', "body"),
        ("message=query", b"", "query"),
        ("", b'{"message":"body"}', "body"),
        ("message=query", b'{"message":null}', None),
    ],
)
def test_the_body_wins_over_the_query(query: str, body: bytes, message: str | None) -> None:
    assert from_json_and_query(body, query).ping.message == message


def test_a_query_completes_json_and_yields_to_a_form() -> None:
    assert from_json_and_query(b'{"user_id":"a"}', "badge=5&api_token=t").ping == Ping(users=("a",), badge=5)
    assert from_json_and_query(b'{"user_id":"a"}', "badge=5&api_token=t").api_token == "t"
    assert from_form(b"user_id=a", "user_id=b&badge=5").ping == Ping(users=("a",), badge=5)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"a" 1}', r"expected ':' \(byte 5, line 1, column 6\)"),
        (b'{\n  "a": x\n}', r"invalid character \(byte 9, line 2, column 8\)"),
        (b'{"a":1', r"ends too early \(byte 6, line 1, column 7\)"),
        (b'{"a":1} x', r"trailing characters \(byte 8, line 1, column 9\)"),
        (b'\xef\xbb\xbf{"a":1}', r"byte order mark.* \(byte 0, line 1, column 1\)"),
        (b'{"a":NaN}', r"invalid character \(byte 5"),
        (b'{"a":"\xff"}', r"not UTF-8 \(byte 6"),
        (b'{"message":"\\ud83d\\ude00 \\ud800"}', r"surrogate .* \(byte 25"),
        (b"[]", r"must be a JSON object, not a list \(byte 0"),
        (b"null", r"must be a JSON object, not null \(byte 0"),
        (b'"text"', "must be a JSON object, not a text"),
        (b"5", "must be a JSON object, not a number"),
        (b"true", "must be a JSON object, not a boolean"),
        (b"user_id=bob", r"invalid character \(byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"message":' + b"[" * 100_000, "nested too deeply"),
        (b'{"message":' + b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_body_names_the_place(body: bytes, says: str) -> None:
    with pytest.raises(MalformedBody, match=says):
        from_json(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"badge":[1]}', "badge"),
        (b'{"sound":5}', "sound"),
        (b'{"sources":5}', "sources"),
        (b'{"source_id":{}}', "source_id"),
        (b'{"vibrate":{}}', "vibrate"),
        (b'{"async":[]}', "async"),
        (b'{"wait":{}}', "wait"),
        (b'{"title":[]}', "title"),
        (b'{"ttl_s":"soon"}', "ttl_s"),
        (b'{"priority":"urgent"}', "priority"),
        (b'{"collapse_id":"a\\u0000b"}', "collapse_id"),
        (b'{"apns":[]}', "apns"),
        (b'{"apns":{"topic":"com.other"}}', "apns.topic"),
        (b'{"fcm":{"token":"x"}}', "fcm.token"),
        (b'{"badge":123456789012345678901234567890}', "badge"),
        (b'{"message":[123456789012345678901234567890]}', "message"),
        (b'{"x":1,"badge":[1]}', "badge"),
    ],
)
def test_a_wrong_value_names_its_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        from_json(body)
    assert refused.value.field == field


def test_a_number_beyond_any_range_is_refused() -> None:
    with pytest.raises(InvalidField, match="out of range"):
        from_json(b'{"message":1e999}')


def test_permitted_characters_of_a_text() -> None:
    ping = from_json(b'{"user_id":"a\\u0000b","message":"\\u0000 \\ud83d\\ude00"}').ping
    assert ping == Ping(users=("a\0b",), message="\0 \N{GRINNING FACE}")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ping), type=Ping) == ping


def test_a_large_list_of_users() -> None:
    users = [f"user{i}" for i in range(200_000)]
    assert from_json(msgspec.json.encode({"user_id": users * 2})).ping.users == tuple(users)


# -- properties: arbitrary input, and equality of all forms of one ping --------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("user_id", "sources", "source_id", "message", "badge", "sound", "vibrate", "async", "api_token"),
        *("wait", "title", "ttl_s", "priority", "collapse_id", "apns", "fcm", "other"),
    ]
)


@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_any_values_give_a_storable_ping_or_a_documented_error(params: Any) -> None:
    try:
        ping = from_json(msgspec.json.encode(params)).ping
    except InputError as error:
        assert error.message
    else:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(ping), type=Ping) == ping


@given(st.binary(max_size=80) | st.text(alphabet='{}[]":,\\u1e0 \n', max_size=80).map(str.encode))
def test_any_bytes_give_a_result_or_a_documented_error(body: bytes) -> None:
    try:
        submission = from_json(body)
    except InputError as error:
        assert error.message
    else:
        assert isinstance(submission, Submission)


TEXT = st.text(alphabet=string.ascii_letters + " äß,%&=+[]", max_size=12)
FORMABLE = st.fixed_dictionaries(
    {},
    optional={
        "user_id": TEXT | st.lists(TEXT, min_size=1, max_size=3),
        "sources": TEXT | st.lists(TEXT, min_size=1, max_size=3),
        "source_id": TEXT,
        "message": TEXT,
        "title": TEXT,
        "sound": TEXT,
        "badge": st.integers(0, 99).map(str),
        "vibrate": st.integers(0, 9999).map(str),
        "async": st.sampled_from(["true", "false", "1"]),
        "api_token": TEXT,
        "other": TEXT,
    },
)


def encoded(params: dict[str, Any]) -> bytes:
    pairs = []
    for name, value in params.items():
        if isinstance(value, list):
            pairs += [f"{name}[]={quote(item)}" for item in value]
        else:
            pairs.append(urlencode({name: value}))
    return "&".join(pairs).encode()


@given(FORMABLE)
def test_json_form_query_and_hash_make_the_same_submission(params: dict[str, Any]) -> None:
    expected = from_json(msgspec.json.encode(params))
    assert from_form(encoded(params), "") == expected
    assert from_form(b"", encoded(params).decode()) == expected
    assert from_json_and_query(b"", encoded(params).decode()) == expected
    assert from_params(params) == expected


def _whole(body: bytes) -> Submission:
    reading = json_in_steps(body)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            found: Submission = end.value
            return found


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id": "bob", "message": "hi", "wait": "true", "api_token": "t"}',
        b'{"user_id": ["bob", "ann", "bob", ["eve", 7]], "sources": "A,B"}',
        b'{"user_id": [], "odd": 1}',
        b'{"message": "nobody"}',
        b"",
    ],
)
def test_parsing_in_steps_gives_the_same_result(body: bytes) -> None:
    assert _whole(body) == from_json(body)


@pytest.mark.parametrize("body", [b"[1]", b'{"user_id": ["bob"', b'{"user_id": ["bob"], "badge": []}'])
def test_in_steps_a_body_is_refused_alike(body: bytes) -> None:
    with pytest.raises(InputError) as at_once:
        from_json(body)
    with pytest.raises(type(at_once.value)) as stepped:
        _whole(body)
    assert (stepped.value.message, stepped.value.field) == (at_once.value.message, at_once.value.field)


def test_explain_is_an_option_of_the_request_and_never_of_a_line() -> None:
    assert from_json(b'{"explain":true,"user_id":"bob"}').explain == ExplainOptions()
    assert from_form(b"message=a", "explain=1&validate=true").explain == ExplainOptions(validate=True)
    for body in (b'{"explain":false}', b'{"explain":"no","validate":false}', b"{}"):
        assert from_json(body) == Submission(Ping())
    for body, field in (
        (b'{"explain":null}', "explain"),
        (b'{"explain":""}', "explain"),
        (b'{"explain":[]}', "explain"),
        (b'{"validate":true}', "validate"),
    ):
        with pytest.raises(InvalidField) as refused:
            from_json(body)
        assert refused.value.field == field
    for name in ("explain", "validate"):
        with pytest.raises(InvalidField, match=f"a line must not have {name}"):
            from_line(b'{"%b":true}' % name.encode())


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("title", "T", "title"),
        ("priority", "normal", "priority"),
        ("ttl_s", 60, "ttl_s"),
        ("collapse_id", "k", "collapse_id"),
        ("apns", {"own": 1}, "apns"),
        ("fcm", {"data": {"k": "v"}}, "fcm"),
        ("to", {"devices": ["ab" * 16]}, "to"),
    ],
)
def test_the_gateways_own_parameters_have_a_meaning(name: str, value: Any, field: str) -> None:
    submission = from_params({name: value})
    assert submission.unknown == ()
    assert getattr(submission.ping, field) != getattr(Ping(), field)
