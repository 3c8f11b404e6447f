"""The house rule about test files: each module has one, and each test file is that of a module.

| rule | why |
| --- | --- |
| a module with code has a test file of its name in the mirrored folder | a reader finds the tests of a module at once |
| a test file in a mirrored folder has the name of a module, or is listed | no test is where nobody looks for it |

`gateway/queue/producer.py` has `tests/gateway/queue/test_producer.py`; the code of a package's `__init__.py` counts as
the module of the package's name, so `gateway/cli/__init__.py` has `tests/gateway/test_cli.py`. A module has code if it
defines a function or method whose body does more than raise an exception: constants, types, protocols and Lua scripts
have none. `test_producer_replicas.py` is a second test file of `producer.py`, for one aspect of it.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

MIRRORED: Final = ("gateway", "protocols", "tools")
"""Folders that have their counterpart below `tests/`."""


class Group(NamedTuple):
    """Modules that are tested together.

    Attributes:
        tests: the test file.
        reason: why these modules have none of their own.
    """

    tests: str
    reason: str


TESTED_TOGETHER: Final[Mapping[str, Group]] = {
    "gateway/bench/attacks": Group(
        "tests/faults/test_attacks.py", "an attack is sent to a real gateway, beside good pings"
    ),
    "gateway/bench/roles": Group(
        "tests/gateway/bench/scenarios/test_small_runs.py", "a role is a process that a scenario starts"
    ),
    "gateway/bench/scenarios": Group(
        "tests/gateway/bench/scenarios/test_small_runs.py", "a scenario is one run of real processes"
    ),
}
"""Folder -> the test file that runs each module of it. A module of the folder may have its own test file beside."""

OWN_SUBJECT: Final[Mapping[str, str]] = {
    "tests/gateway/bench/scenarios/test_small_runs.py": "every scenario with its roles, as small as it can be",
    "tests/gateway/check/test_broken_setups.py": "the whole output of `rhopush check` about ten broken set-ups",
    "tests/gateway/simulators/test_witnesses.py": "independent clients against both simulators",
    "tests/gateway/test_scripts.py": "every Lua script of the gateway, with each of its steps failing",
    "tests/protocols/test_composed_is_accepted.py": "each provider's composition against its simulator",
    "tests/protocols/test_rhoconnect_specs.py": "RhoConnect's own specs, over all rules",
}
"""Test files in mirrored folders whose subject is no single module, and what it is."""


def has_code(tree: ast.Module) -> bool:
    """Whether a module defines a function or method whose body does more than raise an exception."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_does_something, node.body))
        for node in ast.walk(tree)
    )


def _does_something(statement: ast.stmt) -> bool:
    text_or_dots = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return not (text_or_dots or isinstance(statement, ast.Raise | ast.Pass))


def test_file_of(module: str) -> str:
    """The test file of a module, both as paths from the root."""
    path = Path(module)
    if path.name == "__init__.py":
        path = path.parent
    return (Path("tests") / path.parent / f"test_{path.stem}.py").as_posix()


def missing_test_files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and message of each module with code that has no test file."""
    for module in _modules(root):
        wanted = test_file_of(module)
        if (root / wanted).is_file() or _group_of(module) is not None:
            continue
        if has_code(ast.parse((root / module).read_text())):
            yield module, f"its tests belong in {wanted}, which is missing"


def strange_test_files(root: Path) -> Iterator[tuple[str, str]]:
    """Path and message of each test file in a mirrored folder that is of no module and not in `OWN_SUBJECT`."""
    stems = [test_file_of(module).removesuffix(".py") for module in _modules(root)]
    for folder in MIRRORED:
        for file in sorted((root / "tests" / folder).rglob("test_*.py")):
            path = file.relative_to(root).as_posix()
            of_a_module = any(path == f"{stem}.py" or path.startswith(f"{stem}_") for stem in stems)
            if not of_a_module and path not in OWN_SUBJECT:
                yield path, "it has the name of no module"


def stale_exceptions(root: Path) -> Iterator[tuple[str, str]]:
    """Path and message of each exception that no longer holds for anything."""
    for path in (*TESTED_TOGETHER, *OWN_SUBJECT, *(group.tests for group in TESTED_TOGETHER.values())):
        if not (root / path).exists():
            yield path, "an exception of the rule about test files names it, and it does not exist"


def test_file_breaches(root: Path) -> Iterator[tuple[str, str]]:
    """Path and message of every breach of the rule about test files."""
    yield from missing_test_files(root)
    yield from strange_test_files(root)
    yield from stale_exceptions(root)


def _modules(root: Path) -> Iterator[str]:
    for folder in MIRRORED:
        for file in sorted((root / folder).rglob("*.py")):
            yield file.relative_to(root).as_posix()


def _group_of(module: str) -> Group | None:
    """The tests that the module's folder has together."""
    return TESTED_TOGETHER.get(Path(module).parent.as_posix())
