"""Lists of names: separators, quotes, and names that contain them."""

import pytest

from gateway.console.name_lists import names_in, quoted


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bob, eve\r\nann", ["bob", "eve", "ann"]),
        (" , \n", []),
        ('"Doe, John", x', ["Doe, John", "x"]),
        ('"a ""b"""\n"c\nd"', ['a "b"', "c\nd"]),
        ('"abc', ['"abc']),
        ('"a" b, c', ['"a" b', "c"]),
        ('a"b,c', ['a"b', "c"]),
        ('""', []),
        ('" a "', [" a "]),
    ],
)
def test_names_are_separated_by_commas_and_lines_outside_of_quotes(text: str, names: list[str]) -> None:
    assert names_in(text) == names


@pytest.mark.parametrize(
    "name",
    ["bob", "Doe, John", '"q"', "x\ny", " a ", 'a "b" c', "é ü", '"', ",", "bob@example.com", "\u202ebob"],
)
def test_a_quoted_name_is_read_as_it_was(name: str) -> None:
    assert names_in(f"x, {quoted(name)}\ny") == ["x", name, "y"]


def test_a_name_without_separators_needs_no_quotes() -> None:
    assert quoted("bob@example.com") == "bob@example.com"


@pytest.mark.parametrize("part", ['"', '""', '"""', '"x,', '"",', '"a,""""x,', " ", "x,", '"\n'])
def test_a_long_text_of_any_form_is_read_in_one_pass(part: str) -> None:
    text = part * (65_536 // len(part))
    assert sum(map(len, names_in(text))) <= len(text)
