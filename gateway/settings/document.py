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
_STANDARD: Final = "tag:yaml.org,2002:"

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
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSetting(f"{path}, line {line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadSetting(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(root, dict):
        raise BadSetting(f"{path}: expected a mapping of settings, found {type(root).__name__}")
    return Document(path, root, reader.lines)


class _Reader(yaml.SafeLoader):
    """PyYAML's safe loader, walked by hand because its own result forgets the lines."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self.lines: dict[Place, int] = {}

    def document(self) -> Any:
        node = self.get_single_node()
        return {} if node is None else self._value(node, ())

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Begin a list or mapping in brackets. PyYAML's scanner looks at all open ones for each further character."""
        if self.flow_level >= _DEPTH_MAX:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

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
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=node.start_mark)
        if isinstance(node, yaml.CollectionNode) and not node.tag.startswith(_STANDARD):
            raise yaml.MarkedYAMLError(problem=f"unknown tag {node.tag}", problem_mark=node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*place, str(at))) for at, item in enumerate(node.value)]
        return self.construct_object(node)

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
