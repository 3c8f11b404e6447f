"""The project's own rules, which no linter has. `make check` runs this module, which prints each breach.

| rule | why |
| --- | --- |
| a function's body has at most 60 lines, and nine in ten at most 25 | it fits on a screen |
| a file has fewer than 500 lines | one subject a file |
| no waiver comment for a linter or type checker | restructure instead |
| `protocols/` does no I/O and uses neither a clock nor random numbers | it can be tested with values alone |
| only `protocols/http2/` imports ngh2 | the library is young: one place to change |
| Redis key names only in `gateway/store/keys.py` | one file lists the keys in Redis |
| no retired word is a name (`tools/rules/retired_words.toml`) | one term for one thing |
| no public class name is used twice in `gateway/` and `protocols/` | a search finds one class |
| `Args` and `Attributes` of a docstring are parameters and attributes | a stale name misleads |
| a log event is a literal in snake_case, a noun phrase or a participle | it can be searched for |
| `docs/operations.md` has one row for each metric and each log event | an operator finds the remedy |
| no sentence of the documentation begins with "What", "Who" or "Whoever" or has an idiom | it is plain |
| a docstring begins with no clause, is no fragment and has no idiom | it is understood alone |
| a citation (`contract §1`, `providers A1`, a page, a file) resolves; a `§` names its document | it can be read |
| a row of a table has a heading, and as many cells | a renderer shows any other row as text |
| a module with code has a test file of its name, and a test file a module | tests are found |
| the version in pyproject.toml has its section in CHANGELOG.md | a release lists its changes |
| the rules find many log calls, metrics, docstrings and so on | a rule that finds nothing reports nothing |

import-linter checks the imports between the packages of `gateway/` (pyproject.toml).
"""

import ast
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

from rules.citations import unresolved_citations
from rules.class_names import duplicate_class_names
from rules.docstring_names import stale_docstring_names
from rules.log_events import badly_named_events, borrowed_log_methods
from rules.mirrored_tests import test_file_breaches
from rules.operations_page import undocumented_names, unknown_metrics
from rules.plain_docstrings import unclear_docstrings
from rules.plain_sentences import unclear_sentences
from rules.retired_words import LIST, read_list, retired_words
from rules.source import Breach, Source, documents, sources
from rules.subjects import missing_subjects
from rules.tables import broken_tables

BODY_LINES_MAX = 60
BODY_LINES_P90 = 25
FILE_LINES_MAX = 499
KEYS_HOME = "gateway/store/keys.py"

WAIVER = re.compile(r"#\s*(noqa|type:\s*ignore|pragma:|fmt:\s*(off|skip)|mypy:|ruff:|pylint:|pyright:)")
NETWORK = {
    "aiohttp",
    "http",
    "redis",
    "select",
    "selectors",
    "socket",
    "socketserver",
    "ssl",
    "urllib.request",
}
SYSTEM = {"multiprocessing", "os", "pathlib", "signal", "subprocess", "tempfile", "threading"}
LOOP = {"asyncio", "concurrent", "uvloop"}
CLOCK_AND_CHANCE = {"random", "secrets", "time"}
IMPURE_MODULES = NETWORK | SYSTEM | LOOP | CLOCK_AND_CHANCE | {"gateway"}
TODAY = {"datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "date.today"}
IMPURE_CALLS = TODAY | {"open", "input", "print", "uuid1", "uuid4", "uuid.uuid1", "uuid.uuid4"}
KEY_PREFIX = re.compile(r"(rhopush|user|client|api_token|app|resque):(\w|$)")


def body_lengths(source: Source) -> Iterator[tuple[str, int, int]]:
    """Name, line and length of each function's body, without its docstring."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node.name, node.lineno, length


def long_bodies(source: Source) -> Iterator[Breach]:
    """Functions that are too long."""
    for name, line, length in body_lengths(source):
        if length > BODY_LINES_MAX:
            yield Breach(source.path, line, f"{name} has a body of {length} lines, at most {BODY_LINES_MAX}")


def long_files(source: Source) -> Iterator[Breach]:
    """Files that are too long."""
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield Breach(source.path, lines, f"the file has {lines} lines, at most {FILE_LINES_MAX}")


def waivers(source: Source) -> Iterator[Breach]:
    """Comments that switch a checker off. Strings may contain them."""
    lines = iter(source.text.splitlines(keepends=True))
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.type == tokenize.COMMENT and WAIVER.match(token.string):
            yield Breach(source.path, token.start[0], f"a waiver: {token.string}")


def imports(source: Source) -> Iterator[tuple[str, int]]:
    """Each absolute module name that is imported, with its line; `from a import b` gives both a and a.b."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def impure_imports(source: Source) -> Iterator[Breach]:
    """Modules in `protocols/` that import I/O, clocks or random numbers."""
    if source.in_room("protocols"):
        for name, line in imports(source):
            if name in IMPURE_MODULES or name.partition(".")[0] in IMPURE_MODULES:
                yield Breach(source.path, line, f"protocols/ imports {name}")


def impure_calls(source: Source) -> Iterator[Breach]:
    """Calls in `protocols/` that do I/O, or read a clock or random numbers, without such an import."""
    if source.in_room("protocols"):
        for node in source.nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS:
                yield Breach(source.path, node.lineno, f"protocols/ calls {ast.unparse(node.func)}")


def strangers_to_ngh2(source: Source) -> Iterator[Breach]:
    """Modules of the product outside `protocols/http2/` that import ngh2."""
    if source.in_room("gateway", "protocols") and not source.in_room("protocols/http2"):
        for name, line in imports(source):
            if name.partition(".")[0] == "ngh2":
                yield Breach(source.path, line, "only protocols/http2 imports ngh2")


def key_literals(source: Source) -> Iterator[Breach]:
    """Names of Redis keys outside of `KEYS_HOME`. Docstrings may contain them."""
    if not source.in_room("gateway") or source.path == KEYS_HOME:
        return
    docstrings = {node.value for node in source.nodes if isinstance(node, ast.Expr)}
    for node in source.nodes:
        if isinstance(node, ast.Constant) and node not in docstrings:
            text = node.value.decode(errors="replace") if isinstance(node.value, bytes) else node.value
            if isinstance(text, str) and KEY_PREFIX.match(text):
                yield Breach(source.path, node.lineno, f"the Redis key {text!r} belongs in {KEYS_HOME}")


RULES = (
    *(long_bodies, long_files, waivers),
    *(impure_imports, impure_calls, strangers_to_ngh2, key_literals),
    stale_docstring_names,
)


def nine_in_ten(found: list[Source]) -> Iterator[Breach]:
    """The 90th percentile of all bodies of the product."""
    product = (source for source in found if source.in_room("gateway", "protocols"))
    lengths = sorted(length for source in product for _, _, length in body_lengths(source))
    p90 = lengths[len(lengths) * 9 // 10] if lengths else 0
    if p90 > BODY_LINES_P90:
        yield Breach(
            "gateway, protocols", 0, f"one body in ten has {p90} lines or more, {BODY_LINES_P90} at most"
        )


def unexplained_version(root: Path) -> Iterator[Breach]:
    """A version without a section in the changelog."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if f"\n## [{version}]" not in (root / "CHANGELOG.md").read_text():
        yield Breach("CHANGELOG.md", 1, f"no section [{version}], which is the version in pyproject.toml")


def breaches(root: Path) -> Iterator[Breach]:
    """Every breach in the tree."""
    found = list(sources(root))
    for source in found:
        for rule in RULES:
            yield from rule(source)
    pages = list(documents(root))
    yield from nine_in_ten(found)
    yield from duplicate_class_names(found)
    yield from badly_named_events(found)
    yield from borrowed_log_methods(found)
    yield from undocumented_names(found, pages)
    yield from unknown_metrics(found, pages)
    yield from unclear_sentences(pages)
    yield from unclear_docstrings(found)
    yield from retired_words(read_list(LIST.read_text()), found, pages)
    yield from unresolved_citations(found, pages)
    yield from unexplained_version(root)
    yield from missing_subjects(found, pages)
    yield from broken_tables(found, pages)
    yield from (Breach(path, 1, message) for path, message in test_file_breaches(root))


def main() -> int:
    """Print the breaches; 1 if there are any."""
    found = list(breaches(Path(__file__).parents[1]))
    for breach in found:
        print(breach)
    print(f"house rules: {len(found)} breaches" if found else "house rules: kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
