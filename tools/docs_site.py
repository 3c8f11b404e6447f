"""Hooks of mkdocs for the documentation site (`mkdocs.yml`): the site has the folders of the repository.

`docs/settings.md` becomes `docs/settings.html` and `README.md` the front page, so that a relative link of a page
resolves in the repository and on the site without being rewritten. A file that is no page and that a page links to
(`deploy/prometheus/rules.yml`, for example) is copied to the site. `mkdocs build --strict` fails on a link or an
anchor that does not resolve, and on a page that loads anything from another host.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES: Final = ("*.md", "docs/**/*.md", "benchmarks/*.md")
"""Patterns of the pages, relative to the root of the repository."""

_LINK: Final = re.compile(r"\]\(([^)\s#]+)")
_OTHER_HOST: Final = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)
_LOADED_BY: Final[Mapping[str, str]] = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "src",
    "video": "src",
}
"""Elements for which a browser sends a request at once -> the attribute that holds the address."""
_STYLE_ADDRESS: Final = re.compile(r"(?:url\(|@import)\s*['\"]?\s*((?:https?:)?//[^)'\"\s]+)", re.IGNORECASE)
_LOG: Final = logging.getLogger("mkdocs.hooks.docs_site")  # a warning below `mkdocs` fails a strict build


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Replace the files of `docs/` by the pages of the whole repository and the files that they link to."""
    for file in [found for found in files if found.src_dir == config.docs_dir]:
        files.remove(file)
    root = Path(config.config_file_path).parent
    for path in site_files(root):
        files.append(File(path, str(root), config.site_dir, config.use_directory_urls))
    return files


def on_post_build(*, config: MkDocsConfig) -> None:
    """Warn about each address of another host that a built page loads."""
    site = Path(config.site_dir)
    for file in sorted(site.rglob("*")):
        if file.suffix in {".html", ".css"}:
            for address in foreign_addresses(file.read_text(), is_style=file.suffix == ".css"):
                _LOG.warning("%s loads %s from another host", file.relative_to(site), address)


def site_files(root: Path) -> list[str]:
    """Paths of all files of the site, relative to the root: the pages, and the files to which they link."""
    pages = {file for pattern in PAGES for file in root.glob(pattern)}
    linked = {target for page in pages for target in _linked_files(page)}
    inside = (file for file in pages | linked if file.is_relative_to(root))
    return sorted(file.relative_to(root).as_posix() for file in inside)


def foreign_addresses(text: str, *, is_style: bool) -> list[str]:
    """Addresses of other hosts that a browser requests when it shows a page (or applies a style sheet).

    A link that a reader must follow is not among them.
    """
    if is_style:
        return _STYLE_ADDRESS.findall(text)
    parser = _LoadedAddresses()
    parser.feed(text)
    return [address for address in parser.found if _OTHER_HOST.match(address)]


def _linked_files(page: Path) -> Iterator[Path]:
    for target in _LINK.findall(page.read_text()):
        file = (page.parent / target).resolve()
        if file.is_file():
            yield file


class _LoadedAddresses(HTMLParser):
    """Collects the addresses that the elements of a page load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = _LOADED_BY.get(tag)
        self.found += [value for attribute, value in attrs if attribute == name and value]
