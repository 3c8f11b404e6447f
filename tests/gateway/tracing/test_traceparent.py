"""The header `traceparent`: valid, later and malformed values."""

import pytest

from gateway.tracing.traceparent import TraceContext, is_unsampled, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_valid_value_is_read_and_written() -> None:
    value = f"00-{TRACE}-{SPAN}-01"
    assert parse(value) == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)
    assert str(parse(value)) == value
    small = f"00-{'0' * 31}1-{'0' * 15}2-00"
    assert str(parse(small)) == small


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-further", True),
    ],
)
def test_the_flag_and_later_versions(value: str, sampled: bool) -> None:
    found = parse(value)
    assert found is not None
    assert found.sampled is sampled
    assert is_unsampled(value) is (not sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-further",
        f"00-{TRACE}-{SPAN}-01 ",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-zz",
    ],
)
def test_a_malformed_value_is_ignored(value: str) -> None:
    assert parse(value) is None
    assert not is_unsampled(value)
