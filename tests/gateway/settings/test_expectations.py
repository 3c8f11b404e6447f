from typing import Annotated

import pytest
from msgspec import Meta

from gateway.settings.expectations import complaint, found_kind
from gateway.settings.kinds import ORIGIN_PATTERN

Port = Annotated[int, Meta(ge=1, le=65535)]
Origin = Annotated[str, Meta(pattern=ORIGIN_PATTERN)]


@pytest.mark.parametrize(
    ("type_", "value", "strict", "words"),
    [
        (int, "many", True, "expected a whole number, found text"),
        (int | None, [], True, "expected a whole number, found a list"),
        (int, 1.5, True, "expected a whole number, found a number"),
        (bool, 1, True, "expected true or false, found a whole number"),
        (str, 5, True, "expected text, found a whole number (put it in quotes)"),
        (str, None, True, "expected text, found nothing"),
        (Port, 0, True, "expected a whole number >= 1"),
        (Port, 70_000, True, "expected a whole number <= 65535"),
        (Port, "70000", False, "expected a whole number <= 65535"),
        (Port, "70000", True, "expected a whole number, found text"),
        (Origin, "host", True, "expected http:// or https:// with a host, optionally a port, and no path"),
        (Origin | None, 5, True, "expected text, found a whole number (put it in quotes)"),
        (tuple[str, ...], "a", True, "expected a list, found text"),
        (tuple[str, ...], ["a", 5], True, "expected text, found a whole number (put it in quotes)"),
        (tuple[Port, ...], [1, 0], True, "expected a whole number >= 1"),
        (int | str, [], True, "expected a whole number or text, found a list"),
    ],
)
def test_a_complaint_names_the_expected_and_the_found_type(
    type_: object, value: object, strict: bool, words: str
) -> None:
    assert complaint(type_, value, strict=strict) == words


def test_the_kind_of_a_value_is_described_in_words() -> None:
    assert [found_kind(value) for value in ({}, 1.5, True, object())] == [
        "a mapping",
        "a number",
        "true or false",
        "something else",
    ]
