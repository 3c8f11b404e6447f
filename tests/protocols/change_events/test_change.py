import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.change_events.change import NAME_BYTES_MAX, USERS_MAX, Change, parse
from protocols.errors import InputError, InvalidField, MalformedBody

READ = [
    ({"source": "Product", "user_id": "bob"}, Change(("bob",), "Product")),
    ({"source": "Product", "user_id": ["bob", "ann", "bob"]}, Change(("bob", "ann"), "Product")),
    ({"source": "Product", "user_id": "a:b,c", "id": "17", "more": {}}, Change(("a:b,c",), "Product", "17")),
    ({"source": "Product", "user_id": "bob", "id": 17}, Change(("bob",), "Product", "17")),
    ({"source": "Product", "user_id": "bob", "id": None}, Change(("bob",), "Product")),
    ({"source": "Ä", "user_id": "x" * NAME_BYTES_MAX}, Change(("x" * NAME_BYTES_MAX,), "Ä")),
]


@pytest.mark.parametrize(("event", "change"), READ)
def test_an_event_is_read(event: object, change: Change) -> None:
    assert parse(json.dumps(event).encode()) == change


WRONG = [
    ({"user_id": "bob"}, "source", "missing"),
    ({"source": "", "user_id": "bob"}, "source", "empty"),
    ({"source": ["Product"], "user_id": "bob"}, "source", "must be a text, not a list"),
    ({"source": "Product"}, "user_id", "missing"),
    ({"source": "Product", "user_id": []}, "user_id", "names no user"),
    ({"source": "Product", "user_id": [["bob"]]}, "user_id", "not a list"),
    ({"source": "Product", "user_id": 5}, "user_id", "not a number"),
    ({"source": "Product", "user_id": "x" * (NAME_BYTES_MAX + 1)}, "user_id", "more than"),
    ({"source": "Product", "user_id": "ü" * (NAME_BYTES_MAX // 2 + 1)}, "user_id", "more than"),
    ({"source": "Product", "user_id": ["a"] * (USERS_MAX + 1)}, "user_id", "more than"),
    ({"source": "Product", "user_id": "bob", "id": True}, "id", "not a boolean"),
    ({"source": "Product", "user_id": "bob", "id": {}}, "id", "not an object"),
]


@pytest.mark.parametrize(("event", "field", "words"), WRONG)
def test_a_wrong_field_is_named(event: object, field: str, words: str) -> None:
    with pytest.raises(InvalidField, match=words) as caught:
        parse(json.dumps(event).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("event", [b"", b"no", b"[]", b"null", b"\xff", b"[" * 10_000, b'{"a":1} x'])
def test_no_object_is_malformed(event: bytes) -> None:
    with pytest.raises(MalformedBody, match="JSON object"):
        parse(event)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            b'{"source":"\xff"}',
            r"^an event must be a JSON object: is not UTF-8 \(byte 11, line 1, column 12\)$",
        ),
        (
            b'{"source":',
            r"^an event must be a JSON object: it ends too early \(byte 10, line 1, column 11\)$",
        ),
        (b"[1]", r"^an event must be a JSON object, not a list$"),
        (b'{"source":1e999}', r"^an event must be a JSON object: a number is out of range \(byte 10,"),
    ],
)
def test_what_is_no_json_names_the_place_in_our_own_words(event: bytes, words: str) -> None:
    with pytest.raises(MalformedBody, match=words):
        parse(event)


@given(st.one_of(st.binary(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_garbage_raises_nothing_else(event: bytes | str) -> None:
    with pytest.raises(InputError):
        parse(event if isinstance(event, bytes) else event.encode())
