"""Sentences of the documentation name their subject, and avoid idioms that are hard to read for many engineers.

A sentence that begins with "What", "Who" or "Whoever" has a clause in place of a named subject. A heading may be a
question. Code blocks and inline code are not prose.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from rules.source import Breach, Document

IDIOMS: Final = (
    *("all the same", "anew", "as ever", "be it", "for ever", "for good", "go on", "goes on", "however many"),
    *("of ours", "of yours", "on the spot", "that were all", "the one who"),
)
"""Phrases that are not used in the documentation, docstrings and comments."""


_FOLDERS: Final = (".", "docs", "docs/reference")
_FENCE: Final = "```"
_INLINE_CODE: Final = re.compile(r"`[^`]*`")
_ALONE: Final = ("#", "|")
"""First characters of headings and rows: such a line is a block of its own."""

_ITEM: Final = re.compile(r"\s*([-*+]|\d+\.)\s")
_QUESTION: Final = re.compile(r"#+ .*\?\s*\Z")
_CLAUSE: Final = re.compile(
    r"""(?: ^ [\s>#\d.+*-]*     # a paragraph, heading or item
          | [|] \s*             # a cell of a table
          | [.!?:;] [)*_"\s]* \s  # the sentence before
        )
        [*_"(\[]* (What|Who|Whoever) \b""",
    re.VERBOSE,
)
_IDIOM: Final = re.compile(r"\b(" + "|".join(idiom.replace(" ", r"\s+") for idiom in IDIOMS) + r")\b", re.I)


def unclear_sentences(pages: Iterable[Document]) -> Iterator[Breach]:
    """Sentences in the pages of the root and of `docs/` that begin with a clause, and idioms in them."""
    for page in pages:
        for line, text in paragraphs(page):
            yield from _breaches(page.path, line, text)


def paragraphs(page: Document) -> Iterator[tuple[int, str]]:
    """Paragraphs, items, rows of tables and headings of a page for readers, each with its first line."""
    path = PurePosixPath(page.path)
    if path.parent.as_posix() in _FOLDERS and path.suffix == ".md":
        yield from _blocks(page.text)


def clauses(text: str) -> Iterator[tuple[int, str]]:
    """First words of sentences that begin with a clause, each with the number of the lines before it."""
    prose = _without_code(text)
    for found in _CLAUSE.finditer(prose):
        yield prose.count("\n", 0, found.start(1)), found[1]


def idioms(path: str, line: int, text: str) -> Iterator[Breach]:
    """Idioms in a text, outside of inline code. `line`: the first line of the text in the file."""
    prose = _without_code(text)
    for found in _IDIOM.finditer(prose):
        at = line + prose.count("\n", 0, found.start())
        yield Breach(path, at, f"the idiom {' '.join(found[0].split())!r}: write plain English")


def _breaches(path: str, line: int, text: str) -> Iterator[Breach]:
    for offset, word in clauses(text):
        yield Breach(path, line + offset, f"a sentence begins with {word!r}: name its subject")
    yield from idioms(path, line, text)


def _without_code(text: str) -> str:
    return _INLINE_CODE.sub(lambda code: re.sub(r"[^\n]", "_", code[0]), text)


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, items, rows of tables and headings that are no question, each with its first line."""
    first, block, fenced = 1, "", False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        is_fence = line.lstrip().startswith(_FENCE)
        is_prose = not (fenced or is_fence or _QUESTION.match(line)) and bool(line.strip())
        fenced ^= is_fence
        if block and (
            not is_prose or line.startswith(_ALONE) or block.startswith(_ALONE) or _ITEM.match(line)
        ):
            yield first, block
            block = ""
        if is_prose:
            first = first if block else number
            block += line + "\n"
