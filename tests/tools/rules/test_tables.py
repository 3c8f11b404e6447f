"""Tables of pages and docstrings have a heading and rows of its length."""

import ast

import pytest
from rules.source import Document, Source
from rules.tables import broken_tables

TABLE = "| a | b |\n| --- | :-: |\n"


def breaches(text: str) -> list[tuple[int, str]]:
    return [(found.line, found.message) for found in broken_tables([], [Document("docs/a.md", text)])]


@pytest.mark.parametrize(
    "text",
    [
        "No table, but a | b.\n",
        TABLE + "| 1 | 2 |\n",
        TABLE + "| `a | b` | a \\| b |\n",
        TABLE + "| | 2 |\n\nText.\n\n" + TABLE + "| 1 | 2 |\n",
        "|a|b|\n|---|---|\n|1|2|\n",
        "```\n| a\n```\n",
    ],
)
def test_a_table_has_a_heading_and_rows_of_its_length(text: str) -> None:
    assert breaches(text) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (TABLE + "| 1 | 2 |\n\n| 3 | 4 |\n| 5 | 6 |\n", 5, "no heading"),
        (TABLE + "| 1 | 2 | | 3 | 4 |\n", 3, "5 cells, its heading 2"),
        (TABLE + "| 1 | a long\ntext |\n", 3, "continues"),
        (TABLE + "| 1 |\n", 3, "1 cells, its heading 2"),
        ("| a | b |\n| 1 | 2 |\n", 1, "no heading"),
        ("| a | b |\n", 1, "no heading"),
        ("```\n| a\n```\n| a |\n", 4, "no heading"),
    ],
)
def test_a_row_that_a_renderer_shows_as_text_is_found(text: str, line: int, message: str) -> None:
    ((found, words),) = breaches(text)
    assert found == line
    assert message in words


def test_docstrings_are_read_too() -> None:
    text = 'def f():\n    """A function.\n\n    | a | b |\n    | --- | --- |\n    | 1 |\n    """\n'
    (found,) = broken_tables([Source("gateway/a.py", text, ast.parse(text))], [])
    assert (found.path, found.line) == ("gateway/a.py", 6)


def test_other_documents_have_no_tables() -> None:
    assert list(broken_tables([], [Document("deploy/a.yml", "| a\n")])) == []
