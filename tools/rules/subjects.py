"""The subjects of the rules: a rule that finds none of them reports no breach, whatever the code is."""

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from rules.log_events import log_calls
from rules.operations_page import events, metrics
from rules.plain_docstrings import CLEAN, docstrings
from rules.plain_sentences import paragraphs
from rules.retired_words import LIST, read_list
from rules.source import Breach, Document, Source

Find = Callable[[Sequence[Source], Sequence[Document]], int]
_PATH: Final = "tools/rules/subjects.py"


class Subject(NamedTuple):
    """A kind of thing that a rule judges.

    Attributes:
        name: its name, in the plural.
        least: the tree has more; a rule that no longer recognizes them finds fewer.
        find: returns how many the rule finds.
    """

    name: str
    least: int
    find: Find


def _files(folder: str) -> Subject:
    return Subject(
        f"Python files in {folder}/", 10, lambda found, _: sum(one.in_room(folder) for one in found)
    )


def _classes(found: Sequence[Source], _: Sequence[Document]) -> int:
    product = (source for source in found if source.in_room("gateway", "protocols"))
    return sum(isinstance(node, ast.ClassDef) for source in product for node in source.nodes)


SUBJECTS: Final = (
    *map(_files, CLEAN),
    Subject("classes", 300, _classes),
    Subject("docstrings", 1_000, lambda found, _: sum(1 for one in found for _ in docstrings(one))),
    Subject("log calls", 100, lambda found, _: sum(1 for _ in log_calls(found))),
    Subject("log events", 100, lambda found, _: len(events(found))),
    Subject("metrics", 20, lambda found, _: len(metrics(found))),
    Subject("paragraphs", 500, lambda _, pages: sum(1 for page in pages for _ in paragraphs(page))),
    Subject("retired parts of names", 30, lambda *_: len(read_list(LIST.read_text()).parts)),
)


def missing_subjects(
    found: Sequence[Source], pages: Sequence[Document], subjects: Sequence[Subject] = SUBJECTS
) -> Iterator[Breach]:
    """Subjects of which the rules find too few."""
    for subject in subjects:
        number = subject.find(found, pages)
        if number < subject.least:
            yield Breach(_PATH, 1, f"the rules find {number} {subject.name}, at least {subject.least} exist")
