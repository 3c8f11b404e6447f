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


TREE = {
    "pyproject.toml": '[project]\nversion = "1.2.3"\n',
    "CHANGELOG.md": "# Changelog\n",
    "gateway/a.py": "import ngh2\n\n\nclass Ping:\n    def f(self):\n" + "        x = 1\n" * 26,
    "protocols/a.py": "'''Its value.'''\n\n\nclass Ping:\n    door = 1  # contract §99\n",
    "gateway/b.py": "log.info('Bad')\nwrite = log.info\nlog.info('worker_started')\n",
    "docs/a.md": "What is wrong. `rhopush_lost_total`\n",
}
"""A tree with a breach of every rule about the whole of it."""

MESSAGES = (
    "gateway/a.py:1: only protocols/http2 imports ngh2",
    "gateway, protocols:0: one body in ten has 26 lines",
    "protocols/a.py:4: gateway/a.py:4 has a class Ping, too",
    "gateway/b.py:1: log event 'Bad': not in snake_case",
    "gateway/b.py:2: call log.info where it is named",
    "gateway/b.py:3: the event worker_started has no row in docs/operations.md",
    "docs/a.md:1: the code has no metric rhopush_lost_total",
    "docs/a.md:1: a sentence begins with 'What'",
    "protocols/a.py:1: the docstring begins with 'Its'",
    "protocols/a.py:5: door: 'door' is retired",
    "protocols/a.py:5: contract §99: docs/reference/rhoconnect.md has no such heading",
    "CHANGELOG.md:1: no section [1.2.3]",
    "tools/rules/subjects.py:1: the rules find 0 metrics",
    "gateway/a.py:1: its tests belong in tests/gateway/test_a.py",
)


def test_the_command_reads_the_tree_with_every_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(house_rules, "__file__", str(tmp_path / "tools" / "house_rules.py"))
    assert house_rules.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [one for one in MESSAGES if not any(line.startswith(one) for line in lines)] == []
    assert lines[-1] == f"house rules: {len(lines) - 1} breaches"
