"""A public class name is used once in gateway/ and protocols/ together."""

from pathlib import Path

import pytest
from rules.class_names import duplicate_class_names
from rules.source import sources

from tests.tools.rules.conftest import Tree


def found(root: Path) -> list[str]:
    return [str(breach) for breach in duplicate_class_names(sources(root))]


def test_a_name_in_two_files_is_found(tree: Tree) -> None:
    root = tree(("protocols/ping.py", "class Ping", "class Worker"))
    assert found(root) == ["protocols/ping.py:1: gateway/worker.py:7 has a class Worker, too"]


def test_a_name_twice_in_one_file_is_found(tree: Tree) -> None:
    root = tree(("protocols/ping.py", "", "class Outer:\n    class Ping:\n        pass\n"))
    assert found(root) == ["protocols/ping.py:4: protocols/ping.py:1 has a class Ping, too"]


@pytest.mark.parametrize(
    "change",
    [
        ("tests/test_worker.py", "", "class Worker:\n    pass\n"),
        (
            "protocols/ping.py",
            "",
            "class _Part:\n    pass\n\n\nclass Outer:\n    class _Part:\n        pass\n",
        ),
    ],
)
def test_tests_and_private_classes_are_free(tree: Tree, change: tuple[str, str, str]) -> None:
    assert found(tree(change)) == []
