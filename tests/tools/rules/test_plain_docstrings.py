"""Docstrings that begin with a clause or are fragments, and idioms in docstrings and comments."""

import ast

import pytest
from rules.plain_docstrings import FRAGMENTS, docstrings, unclear_docstrings
from rules.source import Source


def found(text: str, path: str = "gateway/cli/a.py") -> list[str]:
    return [str(one) for one in unclear_docstrings([Source(path, text, ast.parse(text))])]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ('"""What a run gave."""\n', 1, "What"),
        ('x = 1\n\n\ndef f():\n    """Send it. Whoever waits is answered."""\n', 5, "Whoever"),
        ('class A:\n    """Text.\n\n    Who calls, waits.\n    """\n', 4, "Who"),
        ('class A:\n    """Text.\n\n    Attributes:\n        a: x. What it holds.\n    """\n', 5, "What"),
    ],
)
def test_a_clause_in_place_of_a_subject_is_a_breach(text: str, line: int, word: str) -> None:
    assert found(text) == [f"gateway/cli/a.py:{line}: a sentence begins with {word!r}: name its subject"]


@pytest.mark.parametrize("word", [*FRAGMENTS, "gorush", "what"])
def test_a_fragment_is_a_breach(word: str) -> None:
    for text in (
        f'"""{word} rest."""\n',
        f'X = 1\n"""{word} rest."""\n',
        f'async def f():\n    """{word} rest."""\n',
    ):
        (breach,) = found(text)
        assert breach.endswith(f": the docstring begins with {word!r}: write a sentence of its own")


@pytest.mark.parametrize(
    "text",
    [
        '"""The result of a run, and what it means for those who read it."""\n',
        '"""Order of the rows; Itself and Offers are other words."""\n',
        "x = 'what'\ncall('Its value')\n",
        '"""The value `x. What` is code."""\n',
    ],
)
def test_sentences_and_other_strings_are_free(text: str) -> None:
    assert found(text) == []


def test_other_packages_are_not_read() -> None:
    assert found('"""What a run gave."""\n', "benchmarks/a.py") == []
    assert found("x = 1  # it goes on\n", "tests/a.py") == []


@pytest.mark.parametrize(
    "text",
    [
        '"""The result.\n\nIt goes on.\n"""\n',
        "x = 1\n\n# It goes on.\n",
        'x = 1\n\n\ny = 2  # "x" goes\ny = 3  # for ever\n',
    ],
)
def test_an_idiom_in_a_docstring_or_comment_is_a_breach(text: str) -> None:
    (breach,) = found(text)
    line = next(
        number for number, one in enumerate(text.splitlines(), 1) if "goes on" in one or "for ever" in one
    )
    assert breach.startswith(f"gateway/cli/a.py:{line}: the idiom ")


@pytest.mark.parametrize(
    "text",
    [
        "x = 'it goes on'\n",
        '"""The word `anew` in code."""\n',
        '"""redis-py connects."""\n',
        '"""He goes. On top."""\n',
    ],
)
def test_code_and_names_of_products_are_free(text: str) -> None:
    assert found(text) == []


def test_every_kind_of_docstring_is_found() -> None:
    text = '"""a"""\nX = 1\n"""b"""\nclass A:\n    """c"""\n    x: int = 1\n    """d"""\n'
    text += '    def f(self):\n        """e"""\n'
    assert sorted(found for _, found in docstrings(Source("a.py", text, ast.parse(text)))) == [
        "a",
        "b",
        "c",
        "d",
        "e",
    ]
