"""Peers written in Go are built once for each state of their sources."""

from pathlib import Path

import pytest

from gateway.bench import golang
from gateway.bench.errors import CannotMeasure

GO = """#!/bin/sh
echo run >> {folder}/runs
if [ -e {folder}/broken ]; then echo "main.go:1: syntax error" >&2; exit 1; fi
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `go` that only records its runs, sources of a peer, and a separate cache."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "go"
    program.write_text(GO.format(folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "sources" / "peer").mkdir(parents=True)
    (tmp_path / "sources" / "peer" / "main.go").write_text("package main\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(golang, "_SOURCES", tmp_path / "sources")
    return tmp_path


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def test_a_peer_is_built_again_only_when_its_sources_change(folder: Path) -> None:
    first = golang.build("peer")
    assert first.read_text() == "built\n"
    assert first.is_relative_to(folder / "cache")
    assert (golang.build("peer"), runs(folder)) == (first, 1)
    (folder / "sources" / "peer" / "main.go").write_text("package main // changed\n")
    assert golang.build("peer") != first
    assert runs(folder) == 2


def test_a_peer_that_does_not_build_is_reported_and_not_stored(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(CannotMeasure, match=r"peer does not build: main\.go:1: syntax error"):
        golang.build("peer")
    (folder / "broken").unlink()
    assert golang.build("peer").exists()


def test_without_sources_or_go_there_is_no_peer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotMeasure, match="other needs Go and a checkout"):
        golang.build("other")
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(CannotMeasure, match="peer needs Go"):
        golang.build("peer")
