"""The documentation site has the folders of the repository, and loads nothing from another host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import docs_site

ROOT = Path(__file__).parents[2]
PAGE = "# Title\n\nText.\n\n## A part\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with the configuration of this one, without its `nav`."""
    root = tmp_path / "repository"
    (root / "docs").mkdir(parents=True)
    (root / "tools").mkdir()
    (root / "benchmarks").mkdir()
    (root / "tools/docs_site.py").write_text((ROOT / "tools/docs_site.py").read_text())
    configuration = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[0]
    kept = (line for line in configuration.splitlines() if not line.startswith("watch:"))
    (root / "mkdocs.yml").write_text("\n".join(kept) + "\n")
    (root / "README.md").write_text(PAGE)
    (root / "docs/a.md").write_text(PAGE)
    (root / "docs/picture.svg").write_text("<svg/>")
    (root / "docs/unused.svg").write_text("<svg/>")
    return root


def build(root: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr + done.stdout


def test_the_site_has_the_folders_of_the_repository(tree: Path) -> None:
    (tree / "settings.yml").write_text("a: 1\n")
    (tree / "README.md").write_text(PAGE + "[A](docs/a.md#a-part) ![x](docs/picture.svg) [B](settings.yml)\n")
    (tree / "docs/a.md").write_text(PAGE + "[Front](../README.md#a-part), [settings](../settings.yml)\n")
    status, output = build(tree)
    assert status == 0, output
    site = tree / "build/site"
    assert (site / "settings.yml").read_text() == "a: 1\n"
    assert (site / "docs/picture.svg").exists()
    assert not (site / "docs/unused.svg").exists()
    assert 'href="docs/a.html#a-part"' in (site / "index.html").read_text()
    assert 'href="../index.html#a-part"' in (site / "docs/a.html").read_text()


def test_each_fault_is_a_warning_and_fails_the_build(tree: Path) -> None:
    targets = ("../missing.md", "../LICENSE", "#no-such-part", "../README.md#nowhere")
    links = "".join(f"[A]({target})\n" for target in targets)
    (tree / "docs/a.md").write_text(PAGE + links + "![A](https://example.com/a.png)\n")
    configuration = tree / "mkdocs.yml"
    configuration.write_text(configuration.read_text() + "nav: [README.md]\n")
    status, output = build(tree)
    assert status != 0
    warnings = re.findall(r"^WARNING .*(?:\n(?![A-Z]+ +-).*)*", output, re.MULTILINE)
    assert [target for target in targets if not any(f"'{target}'" in line for line in warnings)] == []
    assert any("docs/a.html loads https://example.com/a.png from another host" in line for line in warnings)
    assert any('not included in the "nav"' in line and "docs/a.md" in line for line in warnings)
    assert f"Aborted with {len(warnings)} warnings in strict mode" in output


def test_a_file_outside_the_repository_is_no_part_of_the_site(tree: Path) -> None:
    (tree.parent / "secret").write_text("x")
    (tree / "docs/a.md").write_text("[A](../../secret)\n")
    assert docs_site.site_files(tree) == ["README.md", "docs/a.md"]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('<script src="https://a.example/x.js"></script>', ["https://a.example/x.js"]),
        ('<link rel="stylesheet" href="//a.example/x.css">', ["//a.example/x.css"]),
        ('<img alt="" src="x.png"><script src="../x.js"></script><a href="https://a.example/">A</a>', []),
    ],
)
def test_addresses_that_a_page_loads_from_other_hosts_are_found(text: str, addresses: list[str]) -> None:
    assert docs_site.foreign_addresses(text, is_style=False) == addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('@import "https://a.example/x.css";', ["https://a.example/x.css"]),
        ("a {src: url( 'https://a.example/x.woff' )}", ["https://a.example/x.woff"]),
        ("a {src: url(x.woff)} b {src: url(data:image/svg+xml,x)}", []),
    ],
)
def test_addresses_that_a_style_sheet_loads_from_other_hosts_are_found(
    text: str, addresses: list[str]
) -> None:
    assert docs_site.foreign_addresses(text, is_style=True) == addresses
