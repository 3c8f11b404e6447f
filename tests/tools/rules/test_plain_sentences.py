"""Sentences of docs/ that begin with a clause, and idioms."""

import pytest
from rules.plain_sentences import IDIOMS, unclear_sentences
from rules.source import Document


def found(text: str, path: str = "docs/a.md") -> list[str]:
    return [str(one) for one in unclear_sentences([Document(path, text)])]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("What is wrong is refused.\n", 1, "What"),
        ("Whoever writes says so.\n", 1, "Whoever"),
        ("One sentence. Who writes, waits.\n", 1, "Who"),
        ("One sentence\nof two lines.\nWhat follows is another one.\n", 3, "What"),
        ("- **What counts** is the header.\n", 1, "What"),
        ("Steps:\n1. Who calls, waits.\n", 2, "Who"),
        ("| row | What it says |\n", 1, "What"),
        ("## What a ping becomes\n", 1, "What"),
        ("## Readiness\nWhat is missing?\n", 2, "What"),
        ("```\ncode\n```\nWhat comes after code.\n", 4, "What"),
        ("The file `a.md`. What it holds is secret.\n", 1, "What"),
    ],
)
def test_a_clause_in_place_of_a_subject_is_a_breach(text: str, line: int, word: str) -> None:
    assert found(text) == [f"docs/a.md:{line}: a sentence begins with {word!r}: name its subject"]


@pytest.mark.parametrize("idiom", IDIOMS)
def test_each_idiom_is_a_breach_also_across_lines(idiom: str) -> None:
    text = f"First line.\nIt says {idiom.replace(' ', chr(10))} here.\n"
    assert found(text) == [f"docs/a.md:2: the idiom {idiom!r}: write plain English"]
    assert found(f"{idiom.capitalize()} here.\n")


@pytest.mark.parametrize(
    "text",
    [
        "## What does a ping become?\n",
        "## Who may call?\n\nThe holders of a token. They know what they send and who reads it.\n",
        "```\n# What the code says, for good\n```\n",
        "The value `anew. What` is code.\n",
        "The renewal, as everything else, cannot be its own cause. Whole files count.\n",
    ],
)
def test_questions_in_headings_code_and_other_words_are_free(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("path", ["docs/a.txt", "benchmarks/README.md", "docs/other/a.md"])
def test_other_files_are_not_read(path: str) -> None:
    assert found("What is wrong is refused.\n", path) == []
