"""The reader of a `settings.yml`: its plain values, with the line of each value.

A file has the same meaning as for RhoConnect. The parser is libyaml, which Ruby uses too; plain scalars follow Ruby's
rules (`gateway.settings.ruby_scalars`), and so does `<<`. RhoConnect's keys are Ruby symbols: their leading colon is
removed, so that `:redis:` and `redis:` are the same key. Ruby objects are refused (contract §8).
"""

import codecs
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from gateway.errors import BadSetting
from gateway.settings.convert import SettingPath
from gateway.settings.document import Document
from gateway.settings.expectations import found_kind
from gateway.settings.ruby_scalars import scalar, text_of

_DEPTH_MAX: Final = 32  # a settings file has five levels; an alias to itself has no end
FILE_BYTES: Final = 524_288
"""Largest size of a settings file in bytes: a file with a thousand apps has a fifth of it."""
VALUES_MAX: Final = 50_000
"""Largest number of values after expansion of aliases and merges: ten aliases of ten aliases, nine deep, are 10^9."""
_NEWLINE: Final = "\n"
_RESERVED: Final = "@`%"
"""Characters that cannot begin a plain scalar (YAML 1.1 §5.3)."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STANDARD: Final = "tag:yaml.org,2002:"
_SYMBOLS: Final = ("!ruby/symbol", "!ruby/sym")
_TEXT: Final = f"{_STANDARD}str"
_SCALARS: Final = frozenset(
    f"{_STANDARD}{name}" for name in ("str", "null", "bool", "int", "float", "timestamp", "value", "merge")
)
_COLLECTIONS: Final = (f"{_STANDARD}map", f"{_STANDARD}seq")
_FLOW_SYMBOL: Final = re.compile(r":([A-Za-z_]\w*)")
_FLOW_SYMBOLS_MAX: Final = 256


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        BadSetting: the file cannot be read, is empty, is not YAML, or is not a mapping; the message names file and
            line.
    """
    try:
        with path.open("rb") as file:  # possibly a pipe, whose length is not known in advance
            content = file.read(FILE_BYTES + 1)
        if len(content) > FILE_BYTES:
            raise BadSetting(f"{path}: the file exceeds {FILE_BYTES} bytes, the limit of a settings file")
        text = _decoded(content)
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        encoding = "UTF-16" if "16" in error.encoding else "UTF-8"
        raise BadSetting(f"{path}: not valid YAML: byte {error.start} is not valid {encoding}") from error
    if not text.strip():
        raise BadSetting(f"{path} is empty: a write may have failed")
    try:
        root, reader = _parsed(text)
    except yaml.MarkedYAMLError as error:
        raise BadSetting(f"{path}, line {_line(error, text)}: not valid YAML: {_why(error, text)}") from error
    except RecursionError as error:
        raise BadSetting(f"{path}: not valid YAML: nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadSetting(f"{path}: not valid YAML: {_unreadable(text)}") from error
    if not isinstance(root, dict):
        raise BadSetting(f"{path}: expected a mapping of settings, found {found_kind(root)}")
    return Document(path, root, reader.lines, reader.repeated)


class _UnsupportedYaml(yaml.MarkedYAMLError):
    """The file contains valid YAML that settings cannot consist of.

    Attributes:
        why: the reason, in the gateway's own words.
    """

    def __init__(self, why: str, mark: yaml.Mark | None) -> None:
        super().__init__(problem=why, problem_mark=mark)
        self.why = why


def _why(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return the reason of a syntax error. The parser's own text differs between versions."""
    if isinstance(error, _UnsupportedYaml):
        return error.why
    if isinstance(error, yaml.composer.ComposerError):
        return "an alias without an anchor before it"
    mark = error.problem_mark
    if mark is None:
        return _unreadable(text)
    if not text[mark.index :].strip():
        return "the file ends inside a list, a mapping or a text"
    return _at_fault(text, mark)


def _at_fault(text: str, mark: yaml.Mark) -> str:
    """Return the reason why a line cannot be parsed.

    The reason never contains the text of the line, which may be a secret.
    """
    here = text.splitlines()[mark.line]
    if _open_before(text[: mark.index], here[: mark.column]) > _DEPTH_MAX:
        return "nested too deeply"
    found = here[mark.column : mark.column + 1]
    if "\t" in here[: len(here) - len(here.lstrip())] or found == "\t":
        return "a tab in the indentation; use spaces"
    if found and found in _RESERVED:
        return f"a value that begins with {found} (put it in quotes)"
    return f"syntax error at column {mark.column + 1} (check indentation, quotes, colons and brackets)"


def _open_before(text: str, here: str) -> int:
    """Return how many lists and mappings are open after a text with the last line `here`, regardless of indentation."""
    return text.count("[") + text.count("{") - text.count("]") - text.count("}") + here.count("- ")


def _unreadable(text: str) -> str:
    """Return the reason of a syntax error for which the parser gives no location."""
    control = _CONTROL.search(text)
    if control is None:
        return "the file contains characters that YAML does not allow"
    at = control.start()
    return f"a control character (line {text.count(_NEWLINE, 0, at) + 1})"


def _line(error: yaml.MarkedYAMLError, text: str) -> int:
    """Return the line of a fault; at the end of the file (an open bracket, for example), the last line with text."""
    mark = error.problem_mark
    if mark is None:
        return 1
    if text[mark.index :].strip():
        return mark.line + 1
    return text[: mark.index].rstrip().count("\n") + 1


def _decoded(content: bytes) -> str:
    """Decode a file: UTF-8, or UTF-16 with a byte order mark (YAML 1.1 §5.2)."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")


def _parsed(text: str) -> tuple[Any, "_YamlReader"]:
    """Parse the document, and return it with its reader, which has the line of each value.

    Old versions of libyaml, and so of Ruby, accept `{:push_notify: 'true'}`, which newer versions refuse. Such a
    symbol gets an explicit tag where the parser fails, and the text is parsed again.
    """
    kind = _YamlReader
    for _ in range(_FLOW_SYMBOLS_MAX):
        reader = kind(text)
        try:
            return reader.document(), reader
        except yaml.composer.ComposerError:
            if kind is _RepeatedAnchorReader:
                raise
            kind = _RepeatedAnchorReader
        except yaml.MarkedYAMLError as error:
            symbol = _symbol_at(text, error.problem_mark)
            if symbol is None:
                raise
            text = f'{text[: symbol.start()]}!ruby/symbol "{symbol[1]}"{text[symbol.end() :]}'
        finally:
            reader.dispose()
    raise _UnsupportedYaml(f"more than {_FLOW_SYMBOLS_MAX} symbols within braces or brackets", None)


def _symbol_at(text: str, mark: yaml.Mark | None) -> re.Match[str] | None:
    return None if mark is None else _FLOW_SYMBOL.match(text, mark.index)


class _YamlReader(yaml.CSafeLoader):
    """PyYAML's loader on libyaml. It walks the nodes itself, since PyYAML's result has no lines."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: dict[SettingPath, int] = {}
        self.repeated: dict[SettingPath, tuple[int, int]] = {}
        self._left = VALUES_MAX

    def document(self) -> Any:
        """Return the first document of the file: Ruby reads no further one."""
        node = self.get_node() if self.check_node() else None
        return {} if node is None else self._value(node, ())

    def _spend(self, node: yaml.Node) -> None:
        """Count one value or merge: an alias of a few bytes can stand for any number of them."""
        self._left -= 1
        if self._left < 0:
            problem = f"more than {VALUES_MAX} values after expansion of its aliases"
            raise _UnsupportedYaml(problem, node.start_mark)

    def _value(self, node: yaml.Node, setting_path: SettingPath) -> Any:
        self._spend(node)
        if len(setting_path) > _DEPTH_MAX:
            raise _UnsupportedYaml("nested too deeply", node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in _COLLECTIONS:
            raise _UnsupportedYaml(f"unknown tag {node.tag}", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, setting_path))
        return [self._value(item, (*setting_path, str(at))) for at, item in enumerate(node.value)]

    def _pairs(self, node: yaml.MappingNode, setting_path: SettingPath) -> Iterator[tuple[str, Any]]:
        """Yield keys and values in order; a later key wins. Like Ruby, merge the mappings of `<<` at its position."""
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            merged = self._merged(key_node, value_node)
            if merged is not None:
                for mapping in merged:
                    self._spend(mapping)
                    yield from self._pairs(mapping, setting_path)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _UnsupportedYaml("a key must be a text", key_node.start_mark)
            key = key_name(self._scalar(key_node))
            line = key_node.start_mark.line + 1
            self.lines[(*setting_path, key)] = line
            if key in own:
                self.repeated[(*setting_path, key)] = own[key], line
            own[key] = line
            yield key, self._value(value_node, (*setting_path, key))

    def _merged(self, key: yaml.Node, value: yaml.Node) -> list[yaml.MappingNode] | None:
        """Return the mappings that `<<` names, the weakest first; None: the key is not a merge."""
        if not isinstance(key, yaml.ScalarNode) or key.value != "<<":
            return None
        if key.tag == _TEXT and not key.style:  # `!!str <<` is a text
            return None
        listed = [value] if isinstance(value, yaml.MappingNode) else value.value
        if not isinstance(listed, list) or not all(isinstance(item, yaml.MappingNode) for item in listed):
            return None
        return listed[::-1]

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        """Return a scalar's value: quoted scalars and blocks are text, plain scalars follow Ruby's rules."""
        tag, text = node.tag, str(node.value)
        if tag in _SYMBOLS:
            return text
        if tag not in _SCALARS:
            raise _UnsupportedYaml(f"unknown tag {tag}", node.start_mark)
        if tag != _TEXT:  # plain, or tagged as a number
            return scalar(text)
        resolve: Callable[..., str] = self.resolve  # untyped in PyYAML
        explicit = resolve(yaml.ScalarNode, text, (True, False)) != _TEXT
        return text if node.style or explicit else scalar(text)


class _RepeatedAnchorReader(yaml.composer.Composer, _YamlReader):
    """A reader of files that give an anchor twice, in Python and several times slower.

    An alias refers to the last such anchor before it (YAML 1.1 §3.2.2.2). PyYAML refuses these files, Ruby does not.
    """

    def __init__(self, text: str) -> None:
        _YamlReader.__init__(self, text)
        yaml.composer.Composer.__init__(self)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node; a repeated anchor replaces the earlier one."""
        event: Any = self.peek_event()
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)


def key_name(key: Any) -> str:
    """Return a key as text, without the colon of a Ruby symbol. YAML reads a bare `off` or `no` as false."""
    if key is False:
        return "off"
    return "" if key is None else str(text_of(key)).removeprefix(":")
