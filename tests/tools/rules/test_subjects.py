"""A rule that no longer finds what it judges is a breach itself."""

from pathlib import Path

import pytest
from rules.source import documents, sources
from rules.subjects import SUBJECTS, Subject, missing_subjects

from tests.tools.rules.conftest import Tree


def found(root: Path, subject: Subject) -> list[str]:
    return [str(one) for one in missing_subjects(list(sources(root)), list(documents(root)), [subject])]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("Python files in gateway/", 2),
        ("Python files in tools/", 0),
        ("classes", 2),
        ("docstrings", 0),
        ("log calls", 2),
        ("log events", 1),
        ("metrics", 2),
        ("paragraphs", 7),
    ],
)
def test_subjects_are_counted_as_their_rule_finds_them(name: str, number: int, tree: Tree) -> None:
    (subject,) = [one for one in SUBJECTS if one.name == name]
    root = tree()
    fault = f"tools/rules/subjects.py:1: the rules find {number} {name}, at least {number + 1} exist"
    assert found(root, subject._replace(least=number)) == []
    assert found(root, subject._replace(least=number + 1)) == [fault]


def test_each_subject_must_exist() -> None:
    assert [one.name for one in SUBJECTS if one.least < 1] == []
