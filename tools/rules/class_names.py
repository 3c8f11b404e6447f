"""A public class name is used once in the product: a reader who searches for it finds one class."""

import ast
from collections.abc import Iterable, Iterator

from rules.source import Breach, Source


def duplicate_class_names(found: Iterable[Source]) -> Iterator[Breach]:
    """Public classes of `gateway/` and `protocols/` whose name another class has. Private names are free."""
    first: dict[str, str] = {}
    for source in found:
        if not source.in_room("gateway", "protocols"):
            continue
        for node in source.nodes:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if node.name in first:
                yield Breach(source.path, node.lineno, f"{first[node.name]} has a class {node.name}, too")
            else:
                first[node.name] = f"{source.path}:{node.lineno}"
