"""Words that the product once used as names and uses no longer. `retired_words.toml` lists them.

A word is looked for where names are. In code: identifiers, modules, settings, metrics, labels and log events. In
documents: backticks and code blocks. Prose is free.
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from rules.log_events import log_calls
from rules.operations_page import metrics
from rules.source import Breach, Document, Source

LIST: Final = Path(__file__).with_name("retired_words.toml")

_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_IDENTIFIER: Final = re.compile(r"(?<![\w:-])(?<!rhopush )[A-Za-z_]\w*")
"""A name in a document, and no part of a Redis key or Ruby symbol, no option and no command of `rhopush`."""

_NAME_TEXT: Final = re.compile(r"(?i:rhopush)_\w+\Z")
_PRODUCT_NAME: Final = re.compile(r"\b(?i:rhopush)_\w+")
_INLINE_CODE: Final = re.compile(r"`([^`]+)`")
_FENCE: Final = "```"


class Exemption(NamedTuple):
    """Where a retired word stays.

    Attributes:
        paths: globs of files; empty: everywhere.
        names: whole names; empty: every name with the word.
        reason: why.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    reason: str

    def covers(self, path: str, name: str) -> bool:
        """Whether the name may stay in this file."""
        return (not self.paths or any(fnmatch(path, pattern) for pattern in self.paths)) and (
            not self.names or name in self.names
        )


class RetiredWord(NamedTuple):
    """A word, what to write in its place, and where it may stay."""

    word: str
    use: str
    exemptions: tuple[Exemption, ...]

    def is_free(self, path: str, name: str) -> bool:
        """Whether an exemption covers the name."""
        return any(exemption.covers(path, name) for exemption in self.exemptions)


class RetiredWords(NamedTuple):
    """The list.

    Attributes:
        parts: words that no name may contain, by word.
        names: names that are refused as a whole, without underscores at both ends and in any case.
        classes: names that no class may have.
        modules: names that no module may have.
        events: log events that may not come back.
        label_values: values of labels that may not come back.
    """

    parts: dict[str, RetiredWord]
    names: dict[str, RetiredWord]
    classes: dict[str, RetiredWord]
    modules: dict[str, RetiredWord]
    events: dict[str, RetiredWord]
    label_values: dict[str, RetiredWord]

    def in_name(self, path: str, name: str) -> Iterator[RetiredWord]:
        """The retired words of an identifier."""
        in_test = path.startswith("tests/")
        if in_test and name.startswith("test_"):
            return  # a sentence, not a name
        whole = self.names.get(name.strip("_").lower())
        candidates = [whole] if whole is not None and not in_test else []
        candidates += [self.parts[part] for part in dict.fromkeys(parts_of(name)) if part in self.parts]
        yield from (word for word in candidates if not word.is_free(path, name))


@cache
def parts_of(name: str) -> tuple[str, ...]:
    """The words of a name in snake_case or CamelCase, in lower case."""
    return tuple(part.lower() for part in _PART.findall(name))


def read_list(text: str) -> RetiredWords:
    """The list, from TOML."""
    tables = tomllib.loads(text)
    return RetiredWords(*(_read_words(tables.get(field, {})) for field in RetiredWords._fields))


def _read_words(table: dict[str, Any]) -> dict[str, RetiredWord]:
    words = {}
    for word, entry in table.items():
        use = entry if isinstance(entry, str) else entry["use"]
        exemptions = [] if isinstance(entry, str) else entry["allowed"]
        words[word] = RetiredWord(
            word,
            use,
            tuple(
                Exemption(tuple(one.get("paths", ())), tuple(one.get("names", ())), one["reason"])
                for one in exemptions
            ),
        )
    return words


def retired_words(
    words: RetiredWords, found: Iterable[Source], pages: Iterable[Document]
) -> Iterator[Breach]:
    """Every retired word in the tree."""
    for source in found:
        for line, name in sorted({*identifiers(source), *name_texts(source)}):
            yield from _breaches(source.path, line, name, words.in_name(source.path, name))
        if not source.in_room("tests"):  # the name of a test's file is that of its module
            yield from _retired_modules(words, source)
        yield from _retired_classes(words, source)
        yield from _retired_label_values(words, source)
        yield from _retired_events(words, source)
    for page in pages:
        yield from _retired_in_page(words, page)


def _retired_in_page(words: RetiredWords, page: Document) -> Iterator[Breach]:
    names = names_in_code(page.text) if page.path.endswith(".md") else product_names(page.text)
    for line, name in sorted(names):
        yield from _breaches(page.path, line, name, words.in_name(page.path, name))
        if name in words.events and not words.events[name].is_free(page.path, name):
            yield from _breaches(page.path, line, name, [words.events[name]])


def _breaches(path: str, line: int, name: str, words: Iterable[RetiredWord]) -> Iterator[Breach]:
    for word in words:
        yield Breach(path, line, f"{name}: {word.word!r} is retired, use {word.use}")


def identifiers(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of each identifier: what is defined, read, imported, and each keyword of a call."""
    for node in source.nodes:
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.alias):
            for text in (node.name, node.asname or ""):
                yield from ((line, part) for part in text.split("."))
        for field in ("id", "attr", "arg", "name", "rest"):
            name = getattr(node, field, None)
            if isinstance(name, str) and not isinstance(node, ast.alias):
                yield line, name


def name_texts(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of strings that are names: environment variables, metrics, labels and log events."""
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME_TEXT.match(node.value):
            yield node.lineno, node.value
    for metric, named in metrics([source]).items():
        yield from ((named.line, name) for name in (metric, *named.details))
    for call in log_calls([source]):
        yield from ((call.line, event) for event in call.events)


def names_in_code(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each identifier in backticks and code blocks of a document, without comments."""
    block = False
    for line, content in enumerate(text.splitlines(), 1):
        if content.lstrip().startswith(_FENCE):
            block = not block
            continue
        spans = [content.partition("#")[0]] if block else _INLINE_CODE.findall(content)
        for span in spans:
            yield from ((line, name) for name in _IDENTIFIER.findall(span))


def product_names(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of each environment variable and metric in a file that is no Markdown."""
    for line, content in enumerate(text.splitlines(), 1):
        yield from ((line, name) for name in _PRODUCT_NAME.findall(content))


def _retired_modules(words: RetiredWords, source: Source) -> Iterator[Breach]:
    for name in source.path.removesuffix(".py").split("/"):
        yield from _breaches(source.path, 1, name, words.in_name(source.path, name))
        if name in words.modules:
            yield from _breaches(source.path, 1, name, [words.modules[name]])


def _retired_classes(words: RetiredWords, source: Source) -> Iterator[Breach]:
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and node.name.strip("_") in words.classes:
            yield from _breaches(source.path, node.lineno, node.name, [words.classes[node.name.strip("_")]])


def _retired_label_values(words: RetiredWords, source: Source) -> Iterator[Breach]:
    """Literal values in calls of a family of metrics: `metrics.pings_accepted("rest")`."""
    for node in source.nodes:
        if isinstance(node, ast.Call) and "metrics" in ast.unparse(node.func):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and argument.value in words.label_values:
                    value = str(argument.value)
                    yield from _breaches(source.path, node.lineno, value, [words.label_values[value]])


def _retired_events(words: RetiredWords, source: Source) -> Iterator[Breach]:
    for call in log_calls([source]):
        for event in call.events:
            if event in words.events:
                yield from _breaches(source.path, call.line, event, [words.events[event]])
