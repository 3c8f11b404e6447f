"""Every citation of a section resolves: a reader of the repository finds what a comment points at.

| citation | points at |
| --- | --- |
| `contract §1.2` | a numbered heading of `docs/reference/rhoconnect.md` |
| `providers A7` | a labelled heading of `docs/reference/providers.md` |
| `RFC 9113 §8.7`, `YAML 1.1 §5.3`, `ITU-T X.690 §8.1` | a public standard; its sections are not checked |
| `docs/settings.md`, `settings.md` in the code | a page of the repository |
| `gateway/queue/producer.py`, `gateway/queue/` in backticks in `docs/` | a Python file or folder of the repository |

A section sign without one of these documents before it is refused. A list such as `contract §1, §2.1 and §3` names
its document once.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from rules.source import Breach, Document, Source

CONTRACT: Final = "docs/reference/rhoconnect.md"
PROVIDERS: Final = "docs/reference/providers.md"

_EXEMPT: Final = ("tools/", "tests/tools/")
"""The rules themselves and their tests quote citations that do not resolve."""
_CHANGELOG: Final = "CHANGELOG.md"  # not among the documents of the rules

_GAP: Final = r"[\s#]+"  # a citation may continue in the next line of a comment
_SECTION: Final = r"§\d+(?:\.\d+)*"
_LABEL: Final = r"[A-Z]\d[a-z]?"
_NEXT: Final = rf"(?:,|;|{_GAP}and|{_GAP}or|{_GAP}to)?{_GAP}"
_DOCUMENT: Final = rf"contract|RFC{_GAP}\d+|YAML{_GAP}1\.1|ITU-T{_GAP}X\.\d+"
_CITED_SECTIONS: Final = re.compile(rf"\b({_DOCUMENT}){_GAP}({_SECTION}(?:{_NEXT}{_SECTION})*)")
_CITED_LABELS: Final = re.compile(rf"\b[Pp]roviders{_GAP}({_LABEL}(?:{_NEXT}{_LABEL})*)\b")
_SIGN: Final = re.compile(r"§(?=\d)")
_CITED_PAGE: Final = re.compile(r"(?<![\w./-])[\w./-]+\.md\b")
_CITED_FILE: Final = re.compile(r"`((?:gateway|protocols|tests|tools)/[\w./-]*)`")
_NUMBERED: Final = re.compile(r"^#+ (\d+(?:\.\d+)*)\.? ", re.MULTILINE)
_LABELLED: Final = re.compile(rf"^#+ ({_LABEL})\.? ", re.MULTILINE)


class _Targets(NamedTuple):
    """Targets of citations: sections of the contract, labels of the providers' rules, pages, and files with folders."""

    sections: frozenset[str]
    labels: frozenset[str]
    pages: frozenset[str]
    files: frozenset[str]


def unresolved_citations(found: Iterable[Source], pages: Iterable[Document]) -> Iterator[Breach]:
    """Citations in the code, the tests and the documents that point at nothing."""
    files, documents = list(found), list(pages)
    targets = _targets(files, documents)
    for source in files:
        if not source.path.startswith(_EXEMPT):
            yield from _unresolved(source.path, source.text, targets)
            yield from _missing_pages(source.path, source.text, targets)
    for page in documents:
        yield from _unresolved(page.path, page.text, targets)
        if page.path.startswith("docs/"):
            yield from _missing_files(page, targets)


def _targets(found: Iterable[Source], pages: Iterable[Document]) -> _Targets:
    texts = {page.path: page.text for page in pages}
    files = [PurePosixPath(source.path) for source in found]
    return _Targets(
        frozenset(_NUMBERED.findall(texts.get(CONTRACT, ""))),
        frozenset(_LABELLED.findall(texts.get(PROVIDERS, ""))),
        frozenset((*texts, _CHANGELOG)),
        frozenset(str(path) for file in files for path in (file, *file.parents)),
    )


def _unresolved(path: str, text: str, targets: _Targets) -> Iterator[Breach]:
    covered: set[int] = set()
    for citation in _CITED_SECTIONS.finditer(text):
        for section in re.finditer(_SECTION, citation[2]):
            at = citation.start(2) + section.start()
            covered.add(at)
            if citation[1] == "contract" and section[0].removeprefix("§") not in targets.sections:
                yield Breach(path, _line(text, at), f"contract {section[0]}: {CONTRACT} has no such heading")
    for sign in _SIGN.finditer(text):
        if sign.start() not in covered:
            yield Breach(path, _line(text, sign.start()), "a section sign without its document before it")
    for citation in _CITED_LABELS.finditer(text):
        for label in re.findall(_LABEL, citation[1]):
            if label not in targets.labels:
                line = _line(text, citation.start(1))
                yield Breach(path, line, f"providers {label}: {PROVIDERS} has no such heading")


def _missing_pages(path: str, text: str, targets: _Targets) -> Iterator[Breach]:
    names = {PurePosixPath(page).name for page in targets.pages}
    for citation in _CITED_PAGE.finditer(text):
        known = targets.pages if "/" in citation[0] else names
        if citation[0] not in known:
            yield Breach(path, _line(text, citation.start()), f"the repository has no page {citation[0]}")


def _missing_files(page: Document, targets: _Targets) -> Iterator[Breach]:
    for citation in _CITED_FILE.finditer(page.text):
        if citation[1].rstrip("/") not in targets.files:
            line = _line(page.text, citation.start())
            yield Breach(page.path, line, f"the repository has no file {citation[1]}")


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
