"""A table of a page or docstring has one form: a heading, a line of dashes, and rows with as many cells as the heading.

A renderer shows any other line as plain text: the row after an empty line, or a row that continues on the next line.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from rules.source import Breach, Document, Source

_DASHES: Final = re.compile(r"\|(?: *:?-+:? *\|)+")
_CODE: Final = re.compile(r"`[^`]*`")
_FENCE: Final = "```"
_BORDER: Final = "|"
_ESCAPED: Final = r"\|"
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

_Lines = Iterable[tuple[int, str]]


def broken_tables(found: Iterable[Source], pages: Iterable[Document]) -> Iterator[Breach]:
    """Rows without a heading, without an end, or with another number of cells than their heading."""
    for page in pages:
        if page.path.endswith(".md"):
            yield from _broken(page.path, _outside_of_fences(page.text))
    for source in found:
        for node in source.nodes:
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)) is not None:
                yield from _broken(source.path, enumerate(text.splitlines(), node.body[0].lineno))


def _outside_of_fences(text: str) -> _Lines:
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith(_FENCE)
        yield number, "" if fenced or fence else line
        fenced ^= fence


def _broken(path: str, lines: _Lines) -> Iterator[Breach]:
    for is_table, group in groupby(lines, lambda line: line[1].lstrip().startswith(_BORDER)):
        if not is_table:
            continue
        (first, heading), *rows = group
        if not rows or _DASHES.fullmatch(rows[0][1].strip()) is None:
            yield Breach(path, first, "a row of a table has no heading with a line of dashes above it")
            continue
        cells = _cells(heading)
        for number, row in ((first, heading), *rows):
            if not row.rstrip().endswith(_BORDER):
                yield Breach(path, number, "a row of a table continues on the next line")
            elif _cells(row) != cells:
                yield Breach(path, number, f"a row of a table has {_cells(row)} cells, its heading {cells}")


def _cells(row: str) -> int:
    plain = _CODE.sub("_", row.replace(_ESCAPED, "_")).strip()
    return plain.removeprefix(_BORDER).removesuffix(_BORDER).count(_BORDER) + 1
