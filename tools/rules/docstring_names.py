"""The `Args` and `Attributes` of a docstring name what the code names: a stale name misleads its reader."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from rules.source import Breach, Source

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_ENTRY: Final = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)
_OWN: Final = re.compile(r"\bself\.(\w+)")


def stale_docstring_names(source: Source) -> Iterator[Breach]:
    """Entries of `Args` that are no parameters, and of `Attributes` that no class body or `self.` has."""
    for node in source.nodes:
        if isinstance(node, _Function):
            yield from _stale(source, node, "Args", _parameters(node))
        elif isinstance(node, ast.ClassDef):
            defined = _members(node)
            if defined:  # a class without a constructor or fields has its parent's
                yield from _stale(source, node, "Args", defined)
            own = set(_OWN.findall(ast.get_source_segment(source.text, node) or ""))
            yield from _stale(source, node, "Attributes", defined | own)


def _stale(source: Source, node: _Function | ast.ClassDef, title: str, defined: set[str]) -> Iterator[Breach]:
    for name in _entries(ast.get_docstring(node) or "", title):
        if name not in defined:
            yield Breach(
                source.path, node.lineno, f"{node.name}: the docstring's {title} name {name}, which is none"
            )


def _entries(docstring: str, title: str) -> list[str]:
    section = re.search(rf"^{title}:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
    entries = _ENTRY.findall(section[1]) if section else []
    return [name.strip(" *") for entry in entries for name in entry.split(",")]


def _parameters(function: _Function) -> set[str]:
    found = function.args
    stars = [star for star in (found.vararg, found.kwarg) if star is not None]
    return {each.arg for each in (*found.posonlyargs, *found.args, *found.kwonlyargs, *stars)}


def _members(node: ast.ClassDef) -> set[str]:
    """Fields, methods, and the parameters of the constructor."""
    names: set[str] = set()
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
        elif isinstance(item, ast.Assign):
            names |= {target.id for target in item.targets if isinstance(target, ast.Name)}
        elif isinstance(item, _Function):
            names.add(item.name)
            names |= _parameters(item) if item.name in ("__init__", "__new__") else set()
    return names
