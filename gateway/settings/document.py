"""A `settings.yml` as plain values that remember the line each was written on.

RhoConnect's keys are Ruby symbols, which YAML reads as text with a leading colon: the colon is dropped, so
that `:redis:` and `redis:` are the same key. The file is plain YAML; Ruby objects in it are refused (contract
§8).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from gateway.errors import BadSetting

_DEPTH_MAX: Final = 32  # a settings file is five deep; an alias to itself has no end
FILE_BYTES: Final = 524_288
"""Of a settings file: one with a thousand apps has a fifth of it."""
VALUES_MAX: Final = 50_000
"""Values of a file once its aliases and merges are written out: ten aliases of ten aliases, nine deep, are 10^9."""
NUMBER_CHARACTERS: Final = 128
"""Of a number or date: YAML 1.1 has numbers of base 60, whose parts PyYAML multiplies one by one."""
_STANDARD: Final = "tag:yaml.org,2002:"
_TEXT: Final = _STANDARD + "str"
_MERGE: Final = _STANDARD + "merge"

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
        with path.open("rb") as file:  # perhaps a pipe, whose length nothing tells
            text = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > FILE_BYTES:
        raise BadSetting(f"{path}: longer than {FILE_BYTES} bytes, the most that a settings file may have")
    try:
        reader = _Reader(text)  # decodes the first bytes
        try:
            root = reader.document()
        finally:
            reader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSetting(f"{path}, line {line}: not valid YAML: {error.problem}") from error
    except RecursionError as error:
        raise BadSetting(f"{path}: not valid YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadSetting(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, dict):
        raise BadSetting(f"{path}: expected a mapping of settings, found {type(root).__name__}")
    return Document(path, root, reader.lines)


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader, walked by hand because its own result forgets the lines."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.lines: dict[Place, int] = {}
        self._left = VALUES_MAX

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

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Write merges (`<<`) out, as many as a file may have."""
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    if isinstance(merged, yaml.MappingNode):
                        self.flatten_mapping(merged)
                        self._spend(len(merged.value), node)
        super().flatten_mapping(node)

    def _spend(self, values: int, node: yaml.Node) -> None:
        self._left -= values
        if self._left < 0:
            problem = f"more than {VALUES_MAX} values once its aliases are written out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def _value(self, node: yaml.Node, place: Place) -> Any:
        self._spend(1, node)
        if len(place) > _DEPTH_MAX:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=node.start_mark)
        if isinstance(node, yaml.CollectionNode) and not node.tag.startswith(_STANDARD):
            raise yaml.MarkedYAMLError(problem=f"unknown tag {node.tag}", problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, str(at))) for at, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=node.start_mark)
        if node.tag != _TEXT and len(node.value) > NUMBER_CHARACTERS:
            problem = f"a number or date of more than {NUMBER_CHARACTERS} characters"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return self.construct_object(node)

    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, Any]]:
        self.flatten_mapping(node)
        for key_node, value_node in node.value:
            key = key_name(self._scalar(key_node))
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            yield key, self._value(value_node, (*place, key))


def key_name(key: Any) -> str:
    """A key as text, without the colon of a Ruby symbol. YAML reads a bare `off` or `no` as false."""
    if key is False:
        return "off"
    return str(key).removeprefix(":")
