"""Forms and queries with Rack's brackets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import MalformedBody
from protocols.ping import form


@pytest.mark.parametrize(
    ("encoded", "parameters"),
    [
        ("a=1", {"a": "1"}),
        ("a=1&a=2", {"a": "2"}),
        ("a", {"a": None}),
        ("a=", {"a": ""}),
        ("=1", {"": "1"}),
        ("a=1&&b=2&", {"a": "1", "b": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=x+y%21%2B", {"a": "x y!+"}),
        ("a=%C3%A4", {"a": "ä"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("a=%", {"a": "%"}),
        ("a=%zz", {"a": "%zz"}),
        ("u[]=a&u[]=b", {"u": ["a", "b"]}),
        ("u%5B%5D=a&u%5B%5D=b", {"u": ["a", "b"]}),  # jQuery's
        ("u[]", {"u": [None]}),
        ("u[][]=a", {"u": [["a"]]}),
        ("attributes[login]=x&attributes[password]=y", {"attributes": {"login": "x", "password": "y"}}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[b][]=1&a[b][]=2", {"a": {"b": ["1", "2"]}}),
        ("a[][x]=1&a[][y]=2&a[][x]=3", {"a": [{"x": "1", "y": "2"}, {"x": "3"}]}),
        ("a[][x][]=1&a[][x][]=2", {"a": [{"x": ["1", "2"]}]}),
        ("a]b=1", {"a]b": "1"}),
        ("[a]=1", {"[a]": "1"}),
        ("a[b=1", {"a[b": "1"}),
        ("", {}),
    ],
)
def test_brackets_are_read_by_racks_rules(encoded: str, parameters: dict[str, object]) -> None:
    assert form.parameters(encoded, "query") == parameters
    assert form.parameters(encoded.encode(), "body") == parameters


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ("a=1&a[]=2", "'a' in two ways"),
        ("a[]=1&a[b]=2", "'a' in two ways"),
        ("a[b]=1&a[]=2", "'a' in two ways"),
        ("a[b]=1&a[b][c]=2", "'a' in two ways"),
        ("a&a[]=2", "'a' in two ways"),
        ("a=%FF", "not UTF-8"),
        ("%FF=a", "not UTF-8"),
        ("a=%ED%A0%80", "not UTF-8"),
        ("a" + "[b]" * form.DEPTH_MAX + "=1", "more than 32 brackets"),
    ],
)
def test_contradictory_names_are_refused_by_name(encoded: str, says: str) -> None:
    with pytest.raises(MalformedBody, match=says):
        form.parameters(encoded, "body")


def test_the_last_depth_that_is_taken() -> None:
    value: object = form.parameters("a" + "[b]" * (form.DEPTH_MAX - 1) + "=1", "body")
    for key in ["a"] + ["b"] * (form.DEPTH_MAX - 1):
        assert isinstance(value, dict)
        value = value[key]
    assert value == "1"


def test_parameters_are_counted_before_they_are_read() -> None:
    with pytest.raises(MalformedBody, match="more than"):
        form.parameters(b"&" * form.PARAMETERS_MAX, "body")


@given(st.binary(max_size=60) | st.text(alphabet="ab[]=&%+0F", max_size=60).map(str.encode))
def test_garbage_only_raises_what_is_documented(data: bytes) -> None:
    try:
        parameters = form.parameters(data, "body")
    except MalformedBody as error:
        assert "the body" in error.message or "in the body" in error.message
    else:
        assert all(type(name) is str for name in parameters)
