"""The input of every rule, which is the Python files and the documents of the tree, and its output: breaches."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

ROOMS: Final = ("gateway", "protocols", "tests", "tools", "benchmarks", "deploy")
_NO_TEXT: Final = (".py", ".pyc", ".png")


class Breach(NamedTuple):
    """One place where a rule is broken."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Source:
    """One Python file, parsed. `path` is relative to the root and has forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the tree. Most rules read them, and a walk takes longer than the rule."""
        return tuple(ast.walk(self.tree))

    def in_room(self, *rooms: str) -> bool:
        """Whether the file lies under one of these folders (or is it)."""
        return any(self.path == room or self.path.startswith(f"{room}/") for room in rooms)


class Document(NamedTuple):
    """One file that is no Python. `path` is relative to the root and has forward slashes."""

    path: str
    text: str


def sources(root: Path) -> Iterator[Source]:
    """Each Python file of the rooms."""
    for room in ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            text = file.read_text()
            yield Source(file.relative_to(root).as_posix(), text, ast.parse(text))


def documents(root: Path) -> Iterator[Document]:
    """Each Markdown file at the root, in docs/ and in the rooms, but for the changelog (history); all of deploy/."""
    files = {*root.glob("*.md"), *(file for room in ("docs", *ROOMS) for file in (root / room).rglob("*.md"))}
    files |= {file for file in (root / "deploy").rglob("*") if file.is_file() and file.suffix not in _NO_TEXT}
    for file in sorted(files):
        if file.name != "CHANGELOG.md":
            yield Document(file.relative_to(root).as_posix(), file.read_text())
