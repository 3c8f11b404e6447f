"""Strict parsing of numbers from outside: accepted forms, and a cost that does not grow with the length."""

import pytest

from protocols.numbers import INT64_MAX, INT64_MIN, hexadecimal, stored, whole

NO_NUMBERS = [
    "",
    "-",
    "+5",
    " 5",
    "5 ",
    "5\n",
    "1_000",
    "1.0",
    "1e3",
    "0x10",
    "nan",
    "inf",
    "\u0663",  # ARABIC-INDIC DIGIT THREE: int() accepts it
    "\u00b2",  # SUPERSCRIPT TWO: isdigit() accepts it
    "\uff15",  # FULLWIDTH DIGIT FIVE
    "9223372036854775808",
    "9" * 64,
    "9" * 65,
    "1" * 5_000,  # int() raises
    "1" * 30_000_000,
    "0" * 65,
]


@pytest.mark.parametrize("text", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_a_text_that_is_not_a_number_is_none(text: str) -> None:
    assert whole(text) is None
    assert whole(text.encode()) is None
    assert whole("-" + text, INT64_MIN) is None or text == "9223372036854775808"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("007", 7), ("9223372036854775807", INT64_MAX), ("0" * 63 + "5", 5)],
)
def test_a_number_is_read(text: str, number: int) -> None:
    assert whole(text) == whole(text.encode()) == number


def test_a_sign_and_a_range_are_as_the_caller_allows() -> None:
    assert whole("-5") is None
    assert whole("-5", -10) == -5
    assert whole("-11", -10) is None
    assert whole("-9223372036854775808", INT64_MIN) == INT64_MIN
    assert whole("65535", highest=65_535) == 65_535
    assert whole("65536", highest=65_535) is None
    assert whole("0", 1) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(None, 3), (b"", 3), (b"7", 7), (b"-7", -7), (9, 9), (b"x", 3), (b"1" * 5_000, 3), (b"1.5", 3)],
)
def test_a_value_of_redis_that_is_no_number_counts_as_none(value: bytes | int | None, number: int) -> None:
    assert stored(value, 3) == number


@pytest.mark.parametrize("text", ["0x12", "+123", "1_23", " 123", "-123", "\uff11123", "123", "12345", ""])
def test_only_hexadecimal_digits_are_hexadecimal(text: str) -> None:
    assert hexadecimal(text, 4) is None


def test_hexadecimal_digits_are_read() -> None:
    assert (hexadecimal("00fF", 4), hexadecimal("f" * 32, 32)) == (255, 2**128 - 1)
