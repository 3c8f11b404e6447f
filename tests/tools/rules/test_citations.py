"""Citations in code, tests and documents resolve, or name a public standard."""

from pathlib import Path

import pytest
from rules.citations import CONTRACT, PROVIDERS, unresolved_citations
from rules.source import documents, sources

from tests.tools.rules.conftest import Tree

PING = "protocols/ping.py"
PAGES = (
    (CONTRACT, "", "# RhoConnect\n\n## 1. Requests\n\n### 1.2 Parameters\n\nSee contract §1.\n"),
    (PROVIDERS, "", "# Providers\n\n### A7. Answers\n\n### B2a. Installations\n"),
)


def found(root: Path) -> list[str]:
    return [str(breach) for breach in unresolved_citations(sources(root), documents(root))]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("# contract §1.3\n", "3: contract §1.3: docs/reference/rhoconnect.md has no such heading"),
        ("# as told (contract\n# §9)\n", "4: contract §9: docs/reference/rhoconnect.md has no such heading"),
        ("# contract §1, §1.2 and §2\n", "3: contract §2: docs/reference/rhoconnect.md has no such heading"),
        ("# providers A8\n", "3: providers A8: docs/reference/providers.md has no such heading"),
        ("# providers A7 and B2\n", "3: providers B2: docs/reference/providers.md has no such heading"),
        ("# see §1.2\n", "3: a section sign without its document before it"),
        ("# RFC 9113 §8.7; elsewhere §6.8\n", "3: a section sign without its document before it"),
        ("# interface.md, HTTP\n", "3: the repository has no page interface.md"),
        ("# docs/ping.md\n", "3: the repository has no page docs/ping.md"),
    ],
)
def test_a_citation_of_nothing_is_found(text: str, fault: str, tree: Tree) -> None:
    assert found(tree(*PAGES, (PING, "", text))) == [f"{PING}:{fault}"]


@pytest.mark.parametrize(
    "text",
    [
        "# contract §1, §1.2\n",
        "# (contract\n#  §1.2)\n",
        "# providers A7, B2a; providers of push services\n",
        "# RFC\n# 9113 §8.7, §6.8; YAML 1.1 §5.3; ITU-T X.690 §8.1\n",
        "# docs/operations.md, operations.md, CHANGELOG.md\n",
    ],
)
def test_a_citation_that_resolves_is_left_alone(text: str, tree: Tree) -> None:
    assert found(tree(*PAGES, (PING, "", text))) == []


def test_documents_are_read_too(tree: Tree) -> None:
    root = tree(*PAGES, ("docs/operations.md", "", "By contract §7.\n"))
    assert found(root) == [
        "docs/operations.md:10: contract §7: docs/reference/rhoconnect.md has no such heading"
    ]


def test_files_that_a_page_names_exist(tree: Tree) -> None:
    text = "`gateway/worker.py`, `protocols/`, `gateway/gone.py`\n"
    root = tree(*PAGES, ("docs/operations.md", "", text))
    assert found(root) == ["docs/operations.md:10: the repository has no file gateway/gone.py"]


def test_the_rules_and_their_tests_may_quote_anything(tree: Tree) -> None:
    assert (
        found(tree(("tools/rules/a.py", "", "# §9\n"), ("tests/tools/test_a.py", "", "# contract §9\n")))
        == []
    )
