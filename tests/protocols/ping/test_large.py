"""Large JSON bodies of pings, parsed in steps."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError, InvalidField, MalformedBody
from protocols.ping.large import LARGE_BYTES, STEP_ITEMS
from protocols.ping.limits import NAMES_MAX, VALUE_CHARACTERS
from protocols.ping.parse import Submission, from_json, json_in_steps
from tests.protocols.ping.test_limits import whole

ENCODED_MAX = 6 * VALUE_CHARACTERS + 2
"""Length of the longest form of the longest value."""
VALUES = st.one_of(
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.lists(st.text(max_size=3), max_size=2),
)


@given(
    st.lists(VALUES, max_size=12),
    st.dictionaries(st.sampled_from(["sources", "message", "odd", "title"]), st.text(max_size=5)),
    st.booleans(),
)
def test_a_large_body_is_parsed_as_a_small_one(
    users: list[Any], more: dict[str, Any], ascii_only: bool
) -> None:
    parameters = {"user_id": users, **more}
    for indent in (None, 1):
        body = json.dumps(parameters, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
        assert outcome(whole, body) == outcome(from_json, body)


def outcome(read: Callable[[bytes], Submission], body: bytes) -> object:
    try:
        return read(body)
    except InputError as error:
        return type(error)


@pytest.mark.parametrize("part", [b"[],", b"{},", b'"":0,'])
def test_a_body_of_millions_of_values_is_refused_before_they_are_located(part: bytes) -> None:
    with pytest.raises(MalformedBody, match="too many lists and objects"):
        whole(b'{"user_id":' + part * 2_000_001)


@pytest.mark.parametrize("name", ["user_id", "message", "fcm", "odd"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b'"\xb8"', MalformedBody),
        (b'{"a":"\xb8"}', MalformedBody),
        (b'[{"\xb8":1}]', MalformedBody),
        (b"1e999", InvalidField),
        (b"[-1e999]", InvalidField),
    ],
)
def test_each_value_of_a_repeated_parameter_is_checked(name: str, value: bytes, fault: type) -> None:
    body = b'{"%b":%b,"user_id":"bob","%b":"{}"}' % (name.encode(), value, name.encode())
    assert outcome(whole, body) == outcome(from_json, body) == fault


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("count", [STEP_ITEMS - 1, STEP_ITEMS, STEP_ITEMS + 1, 50_000])
def test_many_users_are_decoded_in_steps(count: int, escaped: bool) -> None:
    users = [f'\u00e9"], {number}' for number in range(count)]
    body = json.dumps({"user_id": users, "message": "hi"}, ensure_ascii=escaped).encode()
    steps = json_in_steps(body)
    taken = sum(1 for _ in steps)
    assert taken >= 2 + count // STEP_ITEMS
    assert from_json(body).ping.users == tuple(users)
    assert whole(body).ping.users == tuple(users)


@pytest.mark.parametrize(
    "body",
    [
        b"{%b}" % b",".join(b'"%d":1' % number for number in range(100_000)),
        b'{"user_id":"bob",%b}' % b",".join([b'"message":"x"'] * 10_000),
        b'{"user_id":[%b["x"]]}' % (b'["x"],' * 200_000),
        b'{"user_id":[%b"x"]}' % (b"{}," * 2_100_000),
        b'{"user_id":["bob"],"x":"%b"}' % (b"x" * LARGE_BYTES),
        b'{"user_id":"bob"%b}' % (b" " * 2 * LARGE_BYTES),
        b'{"user_id":["bob"' + b',"bob"' * 100_000,
        b'{"user_id":["bob"' + b',"bob"' * 100_000 + b",]}",
        b'{"user_id":["bob"' + b',"\xff"' * 100_000 + b"]}",
        b"[" * 2 * LARGE_BYTES,
        b'"' + b"x" * 2 * LARGE_BYTES + b'"',
    ],
    ids=["names", "repeats", "lists", "objects", "unknown", "spaces", "cut", "comma", "utf8", "deep", "text"],
)
def test_a_large_body_that_is_no_ping_is_refused(body: bytes) -> None:
    with pytest.raises(InputError):
        from_json(body)


def test_a_large_body_of_nothing_is_an_empty_ping() -> None:
    assert from_json(b" " * 2 * LARGE_BYTES) == Submission(Submission(from_json(b"").ping).ping)


@pytest.mark.parametrize(("length", "fault"), [(ENCODED_MAX, MalformedBody), (ENCODED_MAX + 1, InvalidField)])
def test_a_long_value_is_refused_before_it_is_decoded(length: int, fault: type) -> None:
    """Only the decoding of the value finds that it is not UTF-8."""
    assert outcome(whole, b'{"user_id":"bob","message":"%b\xb8"}' % (b"x" * (length - 3))) is fault


@pytest.mark.parametrize(
    ("names", "words"), [(NAMES_MAX, "more than 1024 parameters"), (NAMES_MAX - 1, "UTF-8")]
)
def test_the_names_are_counted_before_a_value_is_decoded(names: int, words: str) -> None:
    more = b",".join(b'"%d":1' % number for number in range(names))
    with pytest.raises(MalformedBody, match=words):
        whole(b'{"user_id":["\xb8"],%b}' % more)
