import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.change_events.change import Change
from protocols.change_events.keyspace import WRITES, change_of, missing_flags, pattern
from protocols.errors import InvalidField

PREFIX = b"__keyspace@3__:source:application:"


@pytest.mark.parametrize(
    ("key", "user", "source"),
    [
        (b"bob:Product:md", "bob", "Product"),
        (b"bob:Product:md:0a", "bob", "Product"),
        (b"bob:Product:md:indices", "bob", "Product"),
        (b"bob:Product:md_size", "bob", "Product"),
        (b"a:b:Product:md:ff", "a:b", "Product"),
        (b"a:md:Product:md", "a:md", "Product"),
        ("ünï code\n:Product:md".encode(), "ünï code\n", "Product"),
    ],
)
def test_a_documents_write_is_a_change(key: bytes, user: str, source: str) -> None:
    assert change_of(PREFIX + key, b"sadd") == Change((user,), source)


@pytest.mark.parametrize(
    "key",
    [
        b"bob:Product:cd:0a",
        b"bob:Product:md:0",
        b"bob:Product:md:0g",
        b"bob:Product:md:0a:x",
        b"bob:Product:md_copy",
        b"Product:md",
        b":Product:md",
        b"bob::md",
        b"__shared__:Product:md:0a",
    ],
)
def test_other_keys_are_none(key: bytes) -> None:
    assert change_of(PREFIX + key, b"sadd") is None


@pytest.mark.parametrize("event", [b"expire", b"expired", b"evicted", b"persist", b"new"])
def test_a_time_to_live_is_no_change(event: bytes) -> None:
    assert change_of(PREFIX + b"bob:Product:md", event) is None
    assert event not in WRITES


@pytest.mark.parametrize("user", [b"\xff\xfe", b"x" * 1_025])
def test_a_partition_that_can_be_no_login_is_refused(user: bytes) -> None:
    with pytest.raises(InvalidField):
        change_of(PREFIX + user + b":Product:md", b"sadd")


@given(st.binary(), st.binary())
def test_no_channel_raises_anything_else(channel: bytes, event: bytes) -> None:
    for told in (channel, PREFIX + channel):
        try:
            found = change_of(told, event)
        except InvalidField:
            continue
        assert found is None or event in WRITES


@pytest.mark.parametrize(
    ("configured", "missing"),
    [("", "Kg$sh"), ("KA", ""), ("AKE", ""), ("Kg$sh", ""), ("Ex", "Kg$sh"), ("Kg", "$sh"), ("A", "K")],
)
def test_the_flags_that_are_missing(configured: str, missing: str) -> None:
    assert missing_flags(configured) == missing


def test_the_pattern_is_of_one_database() -> None:
    assert pattern(3) == "__keyspace@3__:source:application:*:md*"
