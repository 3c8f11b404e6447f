"""Each house rule finds its breach, and accepts code that keeps it."""

import ast
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))  # where its own modules are, as for `python tools/house_rules.py`
    spec = importlib.util.spec_from_file_location("house_rules", ROOT / "tools" / "house_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house_rules"] = module
    spec.loader.exec_module(module)
    return module


house_rules = load()
Rule = Callable[..., Iterator[object]]


def body(lines: int) -> str:
    return "def f():\n    '''Text.'''\n" + "    x = 1\n" * lines


BROKEN = [
    (house_rules.long_bodies, "gateway/a.py", body(61)),
    (house_rules.long_files, "gateway/a.py", "x = 1\n" * 500),
    (house_rules.waivers, "gateway/a.py", "import os  # noq" + "a: F401\n"),
    (house_rules.waivers, "tests/a.py", "x: int = ''  # type" + ": ignore[assignment]\n"),
    (house_rules.impure_imports, "protocols/a.py", "import asyncio.queues\n"),
    (house_rules.impure_imports, "protocols/a.py", "def f():\n    from urllib import request\n"),
    (house_rules.impure_imports, "protocols/a.py", "from gateway.errors import StoreDown\n"),
    (house_rules.impure_calls, "protocols/a.py", "now = datetime.now(UTC)\n"),
    (house_rules.impure_calls, "protocols/a.py", "open('x')\n"),
    (house_rules.strangers_to_ngh2, "gateway/a.py", "from ngh2 import Connection\n"),
    (house_rules.key_literals, "gateway/a.py", "key = f'user:{login}:clients'\n"),
    (house_rules.key_literals, "gateway/a.py", "key = b'rhopush:queue'\n"),
    (
        house_rules.stale_docstring_names,
        "gateway/a.py",
        "def f(a):\n    '''Text.\n\n    Args:\n        b: text.\n    '''\n",
    ),
]

KEPT = [
    (house_rules.long_bodies, "gateway/a.py", body(60)),
    (house_rules.long_files, "gateway/a.py", "x = 1\n" * 499),
    (house_rules.waivers, "gateway/a.py", "text = '# noqa'  # a plain remark\n"),
    (
        house_rules.impure_imports,
        "protocols/a.py",
        "from urllib.parse import urlencode\nfrom .time import x\n",
    ),
    (house_rules.impure_imports, "gateway/a.py", "import asyncio\n"),
    (house_rules.impure_calls, "protocols/a.py", "date.fromtimestamp(0)\n"),
    (house_rules.strangers_to_ngh2, "protocols/http2/a.py", "import ngh2\n"),
    (
        house_rules.key_literals,
        "gateway/a.py",
        "'''user:LOGIN:clients is a set.'''\nx = 'rhoconnect:changes'\n",
    ),
    (house_rules.key_literals, "gateway/store/keys.py", "key = f'user:{login}:clients'\n"),
    (
        house_rules.stale_docstring_names,
        "gateway/a.py",
        "def f(a):\n    '''Text.\n\n    Args:\n        a: text.\n    '''\n",
    ),
]


def found(rule: Rule, path: str, text: str) -> list[object]:
    return list(rule(house_rules.Source(path, text, ast.parse(text))))


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_breach_is_found(rule: Rule, path: str, text: str) -> None:
    breaches = found(rule, path, text)
    assert breaches
    assert all(str(breach).startswith(f"{path}:") for breach in breaches)


@pytest.mark.parametrize(("rule", "path", "text"), KEPT)
def test_code_that_keeps_a_rule_has_no_breach(rule: Rule, path: str, text: str) -> None:
    assert found(rule, path, text) == []


def test_every_rule_has_a_failing_example() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(house_rules.RULES)


def test_long_bodies_in_one_of_ten_functions_are_a_breach(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "a.py").write_text(body(26))
    sources = list(house_rules.sources(tmp_path))
    assert [breach.message for breach in house_rules.nine_in_ten(sources)] == [
        "one body in ten has 26 lines or more, 25 at most"
    ]


def test_a_version_needs_its_section(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.2]\n")
    assert len(list(house_rules.unexplained_version(tmp_path))) == 1
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-11-24\n")
    assert list(house_rules.unexplained_version(tmp_path)) == []
