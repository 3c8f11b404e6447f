"""Docstrings are whole sentences or noun phrases that name their subject.

| a docstring | why it is refused |
| --- | --- |
| has a sentence that begins with "What", "Who" or "Whoever" | a clause stands in place of a named subject |
| begins with a lower-case letter, or with "Its", "Of", "The same" and others | only the text before completes it |

The rule holds for the packages in `CLEAN`. A package is added to the list when its docstrings follow the rule.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final

from rules.plain_sentences import clauses
from rules.source import Breach, Source

CLEAN: Final = (
    "gateway/bench",
    "gateway/change_events",
    "gateway/check",
    "gateway/cli",
    "gateway/client",
    "gateway/console",
    "gateway/clock.py",
    "gateway/delivery",
    "gateway/errors.py",
    "gateway/fanout",
    "gateway/http_api",
    "gateway/limits",
    "gateway/logs",
    "gateway/mailbox",
    "gateway/metrics.py",
    "gateway/queue",
    "gateway/registry",
    "gateway/resque",
    "gateway/rhoconnect_push",
    "gateway/scheduling",
    "gateway/server",
    "gateway/settings",
    "gateway/simulators",
    "gateway/store",
    "gateway/system",
    "gateway/telemetry",
    "gateway/tracing",
    "gateway/transport",
    "gateway/webhooks",
    "protocols",
    "tools/docs_site.py",
)
"""Packages and modules whose docstrings follow the rule."""

FRAGMENTS: Final = ("And", "As", "But", "Its", "Of", "Or", "The same", "Those that")
"""First words of a docstring that is the rest of a sentence."""

_FRAGMENT: Final = re.compile(rf"({'|'.join(FRAGMENTS)}|[a-z]\w*)\b")


def unclear_docstrings(found: Iterable[Source]) -> Iterator[Breach]:
    """Docstrings of the clean packages that begin with a clause or are fragments."""
    for source in found:
        if source.in_room(*CLEAN):
            for line, text in docstrings(source.tree):
                yield from _breaches(source.path, line, text)


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The docstrings of modules, classes, functions and attributes, each with its first line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    text = statement.value.value
                    if isinstance(text, str):
                        yield statement.lineno, text


def _breaches(path: str, line: int, text: str) -> Iterator[Breach]:
    for offset, word in clauses(text):
        yield Breach(path, line + offset, f"a sentence begins with {word!r}: name its subject")
    fragment = _FRAGMENT.match(text)
    if fragment is not None:
        yield Breach(path, line, f"the docstring begins with {fragment[1]!r}: write a sentence of its own")
