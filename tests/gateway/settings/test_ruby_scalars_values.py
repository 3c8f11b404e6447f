"""The value of each kind of plain scalar, and the text that Ruby makes of it."""

from typing import Any

import pytest

from gateway.settings.ruby_scalars import scalar, text_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("On", True),
        ("no", False),
        ("y", "y"),
        (":name", "name"),
        (":'quoted'", "quoted"),
        ("1,000", 1000),
        ("0x1f", 31),
        ("017", 15),
        ("-0b11", -3),
        ("1:30", 5400),
        ("1.5", 1.5),
        ("-.inf", float("-inf")),
        ("2026-11-24", "2026-11-24"),
        ("0x_", "0x_"),
        ("1" * 65, "1" * 65),
    ],
)
def test_a_plain_scalar_is_what_it_is_to_ruby(text: str, value: Any) -> None:
    found = scalar(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (7, "7"), (1e20, "1.0e+20"), (float("inf"), "Infinity"), (None, None), ("x", "x")],
)
def test_a_value_has_the_text_of_to_s(value: Any, text: Any) -> None:
    assert text_of(value) == text
