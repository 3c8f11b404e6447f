"""The files that every rule reads."""

from pathlib import Path

from rules.source import Breach, documents, sources


def test_python_files_of_the_rooms_are_read(tmp_path: Path) -> None:
    for path in ("gateway/a/b.py", "tests/c.py", "elsewhere/d.py"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("x = 1\n")
    found = list(sources(tmp_path))
    assert [source.path for source in found] == ["gateway/a/b.py", "tests/c.py"]
    assert found[0].in_room("gateway/a")
    assert not found[0].in_room("gateway/b", "tests")


def test_documents_are_all_but_the_changelog(tmp_path: Path) -> None:
    for path in ("README.md", "CHANGELOG.md", "docs/a.md", "docs/b.svg", "deploy/c.yml", "deploy/d.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("text\n")
    assert [page.path for page in documents(tmp_path)] == ["README.md", "deploy/c.yml", "docs/a.md"]


def test_a_breach_is_a_place_and_a_message() -> None:
    assert str(Breach("gateway/a.py", 3, "too long")) == "gateway/a.py:3: too long"
