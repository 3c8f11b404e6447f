"""The rule about test files: found where it is broken, and silent where it is kept."""

from pathlib import Path

import pytest
from rules import mirrored_tests as rule

CODE = "def f() -> int:\n    return 1\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Everything that the exceptions name exists."""
    for folder in rule.TESTED_TOGETHER:
        (tmp_path / folder).mkdir(parents=True)
    for file in (*rule.OWN_SUBJECT, *(group.tests for group in rule.TESTED_TOGETHER.values())):
        write(tmp_path, file)
    return tmp_path


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def found(root: Path) -> list[str]:
    return [path for path, _ in rule.test_file_breaches(root)]


@pytest.mark.parametrize(
    ("module", "tests"),
    [
        ("gateway/queue/producer.py", "tests/gateway/queue/test_producer.py"),
        ("gateway/clock.py", "tests/gateway/test_clock.py"),
        ("gateway/cli/__init__.py", "tests/gateway/test_cli.py"),
        ("protocols/apns/message.py", "tests/protocols/apns/test_message.py"),
        ("tools/lock.py", "tests/tools/test_lock.py"),
    ],
)
def test_a_module_with_code_needs_its_test_file(tree: Path, module: str, tests: str) -> None:
    write(tree, module, CODE)
    assert [*rule.test_file_breaches(tree)] == [(module, f"its tests belong in {tests}, which is missing")]
    write(tree, tests)
    assert found(tree) == []


@pytest.mark.parametrize(
    "text",
    [
        "X = 1\n",
        "class A:\n    x: int = 1\n",
        "class P(Protocol):\n    def f(self) -> None:\n        '''Text.'''\n    def g(self) -> None: ...\n",
        "class A(ABC):\n    def f(self) -> None:\n        raise NotImplementedError\n",
    ],
    ids=["constant", "data", "protocol", "abstract"],
)
def test_a_module_without_code_needs_none(tree: Path, text: str) -> None:
    write(tree, "gateway/a.py", text)
    assert found(tree) == []


@pytest.mark.parametrize(
    "text",
    [
        "class A:\n    def __str__(self) -> str:\n        return ''\n",
        "async def f():\n    '''Text.'''\n    await g()\n",
    ],
    ids=["method", "coroutine"],
)
def test_a_method_or_coroutine_is_code(tree: Path, text: str) -> None:
    write(tree, "gateway/a.py", text)
    assert found(tree) == ["gateway/a.py"]


def test_modules_that_are_tested_together_need_no_file_of_their_own(tree: Path) -> None:
    write(tree, "gateway/bench/roles/sender.py", CODE)
    assert found(tree) == []
    write(tree, "gateway/bench/roles/deeper/sender.py", CODE)
    assert found(tree) == ["gateway/bench/roles/deeper/sender.py"]


def test_a_test_file_is_of_a_module_or_of_an_aspect_of_one(tree: Path) -> None:
    write(tree, "gateway/queue/producer.py")
    for name in ("test_producer.py", "test_producer_replicas.py"):
        write(tree, f"tests/gateway/queue/{name}")
    assert found(tree) == []
    for path in (
        "tests/gateway/queue/test_replicas.py",
        "tests/gateway/test_producer.py",
        "tests/protocols/test_x.py",
    ):
        write(tree, path)
        assert path in found(tree)
    assert len(found(tree)) == 3


def test_tests_of_whole_gateways_are_free(tree: Path) -> None:
    for path in ("tests/faults/test_kill.py", "tests/clients/test_senders.py", "tests/test_deploy.py"):
        write(tree, path)
    assert found(tree) == []


def test_an_exception_for_a_missing_file_is_a_breach(tree: Path) -> None:
    gone = next(iter(rule.OWN_SUBJECT))
    (tree / gone).unlink()
    assert gone in found(tree)


def test_every_exception_has_a_reason() -> None:
    assert all(group.reason for group in rule.TESTED_TOGETHER.values())
    assert all(rule.OWN_SUBJECT.values())
