"""A `settings.yml` as plain values that remember the line each was written on.

RhoConnect's keys are Ruby symbols, which YAML reads as text with a leading colon: the colon is dropped, so
that `:redis:` and `redis:` are the same key. The file is plain YAML; Ruby objects in it are refused (contract
§8).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from gateway.errors import BadSetting
from gateway.settings.expectations import found_kind

_DEPTH_MAX: Final = 32  # a settings file is five deep; an alias to itself has no end
_STANDARD: Final = "tag:yaml.org,2002:"
_NEWLINE: Final = b"\n"
_RESERVED: Final = ("@", "`", "%")
"""No plain text may begin with them (YAML 1.1 §5.3)."""
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Place = tuple[str, ...]


class Document(msgspec.Struct, frozen=True):
    """What a file says.

    Attributes:
        path: the file, as it was named.
        root: its mappings, lists and scalars; keys without a leading colon.
        lines: the line (from 1) on which each value stands, by its path of keys.
    """

    path: Path
    root: dict[str, Any]
    lines: dict[Place, int]

    def where(self, place: Place) -> str:
        """File and line of a value, or of the nearest mapping around it."""
        for length in range(len(place), 0, -1):
            line = self.lines.get(place[:length])
            if line is not None:
                return f"{self.path}, line {line}"
        return str(self.path)


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        BadSetting: it cannot be read, is no YAML, or is no mapping; the message names file and line.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    try:
        reader = _Reader(text)  # decodes the first bytes
        try:
            root = reader.document()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as error:
        raise BadSetting(f"{path}, {_explained(text, error)}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadSetting(f"{path}: not valid YAML: {_unreadable(text, error)}") from error
    if not isinstance(root, dict):
        raise BadSetting(f"{path}: expected a mapping of settings, found {found_kind(root)}")
    return Document(path, root, reader.lines)


class _NotPlain(yaml.MarkedYAMLError):
    """A part of the file is YAML, and nothing that settings are made of.

    Attributes:
        why: in words of our own.
    """

    def __init__(self, node: yaml.Node, why: str) -> None:
        super().__init__(problem_mark=node.start_mark)
        self.why = why


def _explained(text: bytes, error: yaml.MarkedYAMLError) -> str:
    """The line and what is wrong there. PyYAML words its problems differently from version to version."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    if isinstance(error, _NotPlain):
        why = error.why
    elif isinstance(error, yaml.composer.ComposerError):
        why = "an alias without its anchor, or an anchor that is there twice"
    else:
        lines = text.decode("utf-8", "replace").splitlines()
        here = lines[line] if line < len(lines) else ""
        why = _at_fault(here, column, ended=not any(map(str.strip, (here[column:], *lines[line + 1 :]))))
    return f"line {line + 1}: not valid YAML: {why}"


def _at_fault(here: str, column: int, *, ended: bool) -> str:
    """What keeps a line from being read on at a column. Never the text itself: it may be a secret."""
    if ended:
        return "the file ends inside of a list, a mapping or a text"
    if "\t" in here[: len(here) - len(here.lstrip())] or here[column : column + 1] == "\t":
        return "a tab in the indentation; use spaces"
    if here[column : column + 1] in _RESERVED:
        return f"a value that begins with {here[column]} (put it in quotes)"
    return f"it cannot be read on at column {column + 1} (look at indentation, quotes, colons and brackets)"


def _unreadable(text: bytes, error: Exception) -> str:
    """What is wrong with a file that cannot be read at all."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    try:
        text.decode("utf-16" if text.startswith(_UTF16) else "utf-8")
    except UnicodeDecodeError as undecodable:
        return f"not UTF-8 (byte {undecodable.start}, line {text.count(_NEWLINE, 0, undecodable.start) + 1})"
    control = _CONTROL.search(text)
    if control is not None:
        return f"a control character (byte {control.start()}, line {text.count(_NEWLINE, 0, control.start()) + 1})"
    return "it holds characters or values that YAML does not have"


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader, walked by hand because its own result forgets the lines."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.lines: dict[Place, int] = {}

    def document(self) -> Any:
        node = self.get_single_node()
        return {} if node is None else self._value(node, ())

    def check_value(self) -> bool:
        """Whether a colon here parts a key from its value."""
        return bool(super().check_value()) and not self._at_symbol()

    def check_plain(self) -> bool:
        """Whether a plain scalar begins here."""
        return bool(super().check_plain()) or self._at_symbol()

    def _at_symbol(self) -> bool:
        """Whether a Ruby symbol begins here inside `{...}` or `[...]`, where YAML has no word with a colon
        first.

        `{:push_notify: 'true'}` is how RhoConnect's users write it; `{"a":b}` goes on to be a key and a
        value.
        """
        if not self.flow_level or self.peek() != ":" or not self.pointer:
            return False
        after = self.peek(1)
        return (after.isalpha() or after == "_") and self.buffer[self.pointer - 1] in " \t\r\n,[{"

    def _value(self, node: yaml.Node, place: Place) -> Any:
        if len(place) > _DEPTH_MAX:
            raise _NotPlain(node, "nested too deeply")
        if isinstance(node, yaml.CollectionNode) and not node.tag.startswith(_STANDARD):
            raise _NotPlain(node, f"unknown tag {node.tag}")
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, str(at))) for at, item in enumerate(node.value)]
        try:
            return self.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise _NotPlain(node, f"a value that is no {node.tag.rpartition(':')[2]}") from error

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, Any]]:
        self.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = key_name(self.construct_object(key_node))
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            yield key, self._value(value_node, (*place, key))


def key_name(key: Any) -> str:
    """A key as text, without the colon of a Ruby symbol. YAML reads a bare `off` or `no` as false."""
    if key is False:
        return "off"
    return str(key).removeprefix(":")
