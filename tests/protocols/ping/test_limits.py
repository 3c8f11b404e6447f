"""Longest values of parameters in all forms, and large bodies in steps."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from protocols.errors import InputError, InvalidField, MalformedBody
from protocols.ping import form
from protocols.ping.parse import Submission, from_form, from_json, from_params, json_in_steps

FORMS: dict[str, Callable[[dict[str, Any]], Submission]] = {
    "json": lambda parameters: from_json(msgspec.json.encode(parameters)),
    "steps": lambda parameters: whole(msgspec.json.encode(parameters)),
    "hash": from_params,
}


def whole(body: bytes) -> Submission:
    steps = json_in_steps(body)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Submission = end.value
            return found


LONGEST = [
    ("message", "x" * 65_536, "y"),
    ("title", "\u00e9" * 16_384, "y"),
    ("sound", "x" * 1_024, "y"),
    ("collapse_id", "x" * 64, "y"),
    ("user_id", "x" * 1_024, "y"),
    ("sources", "x" * 1_024, "y"),
    ("source_id", "x" * 1_024, "y"),
    ("badge", "1" + "x" * 255, "y"),
    ("vibrate", "1" + "x" * 255, "y"),
    ("wait", "x" * 256, "y"),
    ("async", "x" * 256, "y"),
]


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("field", "longest", "more"), LONGEST, ids=[field for field, _, _ in LONGEST])
def test_each_parameter_has_a_longest_value(
    read: Callable[[dict[str, Any]], Submission], field: str, longest: str, more: str
) -> None:
    read({field: longest})
    for extra in (more, more * 100_000):
        with pytest.raises(InvalidField, match=rf"{field} (may have|must be) at most \d+") as refused:
            read({field: longest + extra})
        assert refused.value.field == field
    with pytest.raises(InvalidField, match=f"{field} m.* at most"):
        from_form(urlencode({field: longest + more * 100_000}).encode(), "")


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
def test_a_long_priority_is_refused_for_its_length(read: Callable[[dict[str, Any]], Submission]) -> None:
    with pytest.raises(InvalidField, match="priority may have at most 256 characters"):
        read({"priority": "x" * 257})


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", ["x" * 1_025]),
        ("user_id", ["bob", "x" * 1_025]),
        ("user_id", ["bob", ["x" * 1_025]]),
        ("user_id", ["bob", 7, "x" * 1_025]),
        ("sources", ["x" * 1_025]),
        ("sources", ["xy"] * 30_000),
        ("sources", ",".join(["xy"] * 30_000)),
        ("message", {"a": "x" * 65_536}),
        ("message", {"x" * 65_536: 1}),
        ("message", [1] * 65_536),
        ("apns", {"k": ["x" * 100] * 700}),
        ("apns", json.dumps({"k": "x" * 65_536})),
        ("fcm", {"data": {f"k{number}": "x" for number in range(20_000)}}),
        ("ttl_s", "1" * 1_000_000),
        ("priority", "x" * 1_000_000),
    ],
)
def test_lists_and_objects_have_a_longest_value(
    read: Callable[[dict[str, Any]], Submission], field: str, value: Any
) -> None:
    with pytest.raises(InvalidField) as refused:
        read({field: value})
    assert refused.value.field == field


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("name", ["user_id", "sources", "message", "unknown"])
def test_the_nesting_is_limited(read: Callable[[dict[str, Any]], Submission], name: str) -> None:
    read({name: nested(60)})
    for levels in (70, 300, 900):
        with pytest.raises(InputError, match="nested"):
            read({name: nested(levels)})


@pytest.mark.parametrize("read", FORMS.values(), ids=FORMS)
def test_the_number_of_unknown_parameters_is_limited(read: Callable[[dict[str, Any]], Submission]) -> None:
    assert len(read({f"k{number}": 1 for number in range(1_000)}).unknown) == 32
    for count in (1_100, 5_000):
        with pytest.raises(MalformedBody, match="parameters"):
            read({f"k{number}": 1 for number in range(count)})


@pytest.mark.parametrize(
    "encoded", ["&".join(["a"] * 20_000), "&".join(f"a[][b{n}]=" for n in range(20_000))]
)
def test_the_number_of_pairs_of_a_form_is_limited(encoded: str) -> None:
    with pytest.raises(MalformedBody, match="the body has more than 10000 parameters"):
        form.parameters(encoded, "body")


def test_a_forms_list_may_be_long() -> None:
    assert len(form.parameters("user_id[]=bob&" * 50_000, "body")["user_id"]) == 50_000


@pytest.mark.parametrize(
    ("encoded", "word"),
    [("a" * 20_000 + "=1", "a name in the body"), ("a=" + "%41" * 400_000, "a may have at most 65536")],
)
def test_the_lengths_of_names_and_values_of_a_form_are_limited(encoded: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        form.parameters(encoded, "body")


# -- large bodies --------------------------------------------------------------------------------------------
