"""Texts for a terminal: some come from callers, devices and providers, and a terminal executes escape sequences."""

from collections.abc import Mapping
from typing import Any, Final

_OF_LINES: Final = frozenset({"exception", "stack"})
"""Fields whose text has several lines: tracebacks."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with its control characters written as escapes, such as `\x1b`.

    Args:
        text: the text.
        lines: whether it may have line ends.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or (lines and one == "\n") else _escaped(one) for one in text)


def printable_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a log line with printable texts: a value cannot look like a further line."""
    return {
        name: printable(value, lines=name in _OF_LINES) if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
