"""Docstrings are whole sentences or noun phrases that name their subject; they and comments have no idioms.

| a docstring | why it is refused |
| --- | --- |
| has a sentence that begins with "What", "Who" or "Whoever" | a clause stands in place of a named subject |
| begins with a lower-case letter, or with "Its", "Of", "The same" and others | only the text before completes it |
| or a comment has a phrase of `plain_sentences.IDIOMS` | it is hard to read for many engineers |

The rules hold for the packages in `CLEAN` and `PLAIN`.
"""

import ast
import re
import tokenize
from collections.abc import Iterable, Iterator
from typing import Final

from rules.plain_sentences import clauses, idioms
from rules.source import Breach, Source

CLEAN: Final = ("gateway", "protocols", "tests", "tools")
"""Packages and modules whose docstrings name their subject."""

PLAIN: Final = ("gateway", "protocols")
"""Packages and modules whose docstrings and comments have no idiom."""

_PRODUCTS: Final = (
    *("aioapns", "aiohttp", "axe", "h2load", "httptools", "llhttp", "msgspec", "nginx", "nohup", "promtool"),
    *("pyfcm", "redis-py", "redis-rb", "rhoconnect-push", "schemathesis", "structlog"),
)
"""Names in lower case that may begin a docstring."""

FRAGMENTS: Final = ("And", "As", "But", "Its", "Of", "Or", "The same", "Those that")
"""First words of a docstring that is the rest of a sentence."""

_FRAGMENT: Final = re.compile(rf"({'|'.join(FRAGMENTS)}|(?!(?:{'|'.join(_PRODUCTS)})\b)[a-z]\w*)\b")


def unclear_docstrings(found: Iterable[Source]) -> Iterator[Breach]:
    """Docstrings that begin with a clause or are fragments, and idioms in docstrings and comments."""
    for source in found:
        plain = source.in_room(*PLAIN)
        if source.in_room(*CLEAN):
            for line, text in docstrings(source):
                yield from _breaches(source.path, line, text)
                if plain:
                    yield from idioms(source.path, line, text)
        if plain:
            for line, text in comments(source.text):
                yield from idioms(source.path, line, text)


def docstrings(source: Source) -> Iterator[tuple[int, str]]:
    """The docstrings of modules, classes, functions and attributes, each with its first line."""
    for node in source.nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    text = statement.value.value
                    if isinstance(text, str):
                        yield statement.lineno, text


def comments(text: str) -> Iterator[tuple[int, str]]:
    """The comments of a file, each with its line."""
    lines = iter(text.splitlines(keepends=True))
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _breaches(path: str, line: int, text: str) -> Iterator[Breach]:
    for offset, word in clauses(text):
        yield Breach(path, line + offset, f"a sentence begins with {word!r}: name its subject")
    fragment = _FRAGMENT.match(text)
    if fragment is not None:
        yield Breach(path, line, f"the docstring begins with {fragment[1]!r}: write a sentence of its own")
