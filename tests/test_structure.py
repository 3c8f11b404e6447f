"""Statements of docs/architecture.md about who changes what, read from the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.delivery.batch import DeliveryBatch
from protocols.ping.model import Ping

ROOT = Path(__file__).parent.parent
GATEWAY = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "gateway").rglob("*.py")}


def places(pattern: str) -> set[str]:
    """The files of gateway/ with a match."""
    found = re.compile(pattern)
    return {name for name, text in GATEWAY.items() if found.search(text)}


def assigned_attributes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Every assignment to an attribute of a name: (name, attribute)."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Attribute):
                    name = one.value
                    yield name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", ""), one.attr


def test_no_other_module_sets_an_attribute_of_a_delivery_batch() -> None:
    attributes = set(DeliveryBatch.__slots__)
    found = [
        (name, target, attribute)
        for name, text in GATEWAY.items()
        if "batch" in text and name.startswith(("gateway/delivery/", "gateway/fanout/", "gateway/tracing/"))
        for target, attribute in assigned_attributes(ast.parse(text))
        if target == "batch" and attribute in attributes
    ]
    assert found == []


def test_a_lease_is_claimed_by_the_consumer_alone() -> None:
    assert places(r"in_flight\.claim\(") == {"gateway/fanout/consumer.py"}


def test_the_stored_form_of_a_ping_is_written_in_the_package_of_the_queue_alone() -> None:
    assert {str(Path(name).parent) for name in places("cmsgpack")} == {"gateway/queue"}


def test_a_ping_cannot_be_altered() -> None:
    ping = Ping(users=("bob",))
    with pytest.raises(AttributeError):
        ping.badge = 1  # type-checked by the test itself
    assert places(r"force_setattr|object\.__setattr__") == set()


def test_the_registry_keeps_nothing_untyped_of_other_packages() -> None:
    untyped = [
        (name, ast.unparse(node))
        for name, text in GATEWAY.items()
        if name.startswith("gateway/registry/")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Attribute)
        and re.search(r"\bAny\b|\bobject\b", ast.unparse(node.annotation))
    ]
    assert all("redis.execute_command" in text for _, text in untyped), untyped


def test_no_module_outside_the_providers_has_a_branch_on_the_name_of_a_provider() -> None:
    names = r"[\"'](?:apns|fcm|rhoconnect_push)[\"']"
    own = ("gateway/delivery/providers/", "gateway/simulators/", "gateway/bench/")
    branches = places(rf"(?:==|!=|\bin\b|\bcase\b)\s*\(?{names}|{names}\s*(?:==|!=)")
    assert {name for name in branches if not name.startswith(own)} == set()


def test_the_classes_on_the_path_are_at_most_seven_in_each_direction_and_in_the_named_modules() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    section = page.partition("### The classes on the path")[2].partition("\n## ")[0]
    directions = [part for part in section.split("**From ") if "| class |" in part]
    assert len(directions) == 2
    for part in directions:
        rows = re.findall(r"^\| `(\w+)` \| `([\w/.]+)` \|(.*)$", part, re.MULTILINE)
        assert 0 < len(rows) <= 7
        assert sum("upward" in rest for _, _, rest in rows) <= 2
        for name, module, _ in rows:
            assert re.search(rf"^class {name}\b", (ROOT / module).read_text(), re.MULTILINE), (name, module)
