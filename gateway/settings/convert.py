"""Conversion of plain values to typed structs. Every error names the setting, its location and the accepted values."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from gateway.errors import BadSetting
from gateway.settings.expectations import complaint
from gateway.settings.kinds import ORIGIN_PATTERN, URL_PATTERN
from gateway.settings.paths import not_a_path
from gateway.settings.renamed import renaming
from gateway.system.secret import Secret
from protocols.credential_text import control_character

SettingPath = tuple[str, ...]
Kind = TypeVar("Kind", bound=msgspec.Struct)

_LINES: Final = frozenset({"key", "credentials"})
"""Settings whose text may contain line ends: keys and service accounts."""
_AROUND: Final = "\ufeff \t\r\n\v\f"
"""Characters that an editor, a shell or a mounted file adds around a text."""
_WORD: Final = re.compile(r"[\w. -]{0,32}")
"""Wrong values that an error may quote; any other text may be a misplaced key."""


class Converter:
    """Converts trees of plain values.

    Args:
        locate: returns the location at which a value was given ("settings.yml, line 12"), for error messages.
        folder: base of relative paths.
        strict: whether numbers and booleans must have these types; environment variables are always text.
    """

    def __init__(self, locate: Callable[[SettingPath], str], folder: Path, *, strict: bool = True) -> None:
        self._locate, self._folder, self._strict = locate, folder, strict

    def struct(
        self, kind: type[Kind], tree: Mapping[str, Any], setting_path: SettingPath, **ready: Any
    ) -> Kind:
        """Convert a struct and everything below it.

        Args:
            kind: the struct.
            tree: the given values; other fields have their defaults.
            setting_path: path of this struct in the settings.
            ready: fields that are set already and must not occur in `tree`.

        Raises:
            BadSetting: a key is unknown, or a value has the wrong type or is out of range.
        """
        types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name not in ready}
        self.only_known(types, tree, setting_path)
        values = {name: self.value(types[name], value, (*setting_path, name)) for name, value in tree.items()}
        return kind(**values, **ready)

    def value(self, type_: Any, value: Any, setting_path: SettingPath) -> Any:
        """Convert one value of any type that a setting has."""
        if is_section(type_):
            return self.struct(type_, self.mapping(value, setting_path), setting_path)
        value = self._trimmed(value, setting_path)
        choices = choices_of(type_)
        if value is False and "off" in choices:
            value = "off"  # YAML 1.1 reads a bare `off` as false
        if choices and value not in choices:
            word = not isinstance(value, str) or _WORD.fullmatch(value)
            found = f"found {value!r}" if word else "found a different text"
            raise self.error(setting_path, f"expected one of {', '.join(choices)}, {found}")
        try:
            converted = msgspec.convert(value, type_, strict=self._strict, dec_hook=self._adopt)
            return _checked_address(type_, converted)
        except _InvalidPath as error:
            raise self.error(
                setting_path, not_a_path(".".join(setting_path), str(value)) or "not a path"
            ) from error
        except msgspec.ValidationError as error:
            raise self.error(setting_path, complaint(type_, value, strict=self._strict)) from error
        except (ValueError, OverflowError, RuntimeError) as error:
            # Environment bytes that are not UTF-8; a number beyond every range; a value without an end to its nesting;
            # the home of a user that does not exist.
            raise self.error(setting_path, "the value cannot be read") from error

    def mapping(self, value: Any, setting_path: SettingPath) -> Mapping[str, Any]:
        """Convert a mapping; None becomes an empty mapping."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.error(setting_path, "expected a mapping")
        return value

    def only_known(self, known: Iterable[str], tree: Mapping[str, Any], setting_path: SettingPath) -> None:
        """Refuse an unknown key; the error names the new name of the setting, or the most similar known name."""
        for name in tree:
            if name not in known:
                hint = renaming((*setting_path, name), tree[name])
                if hint is not None:
                    raise self.error((*setting_path, name), hint)
                raise self.error((*setting_path, name), "unknown setting" + did_you_mean(name, known))

    def error(
        self, setting_path: SettingPath, what: str, *, given_at: SettingPath | None = None
    ) -> BadSetting:
        """Return the error about one setting, with the location at which it, or a setting that requires it, was
        given."""
        name = ".".join(setting_path)
        return BadSetting(f"{name}: {what} ({self._locate(given_at or setting_path)})", field=name)

    def _adopt(self, kind: type, value: Any) -> Any:
        """Convert the two types that msgspec does not support. Relative paths start at the folder."""
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise TypeError("expected a text")
        if kind is not Path:
            return Secret(value)
        if not_a_path("", value) is not None:
            raise _InvalidPath
        return self._folder / Path(value).expanduser()

    def _trimmed(self, value: Any, setting_path: SettingPath) -> Any:
        """Strip a text, or the texts of a list.

        Raises:
            BadSetting: a text contains a control character.
        """
        if isinstance(value, list | tuple):
            return [self._trimmed(item, setting_path) for item in value]
        if not isinstance(value, str):
            return value
        text = value.strip(_AROUND)
        character = control_character(text, lines=setting_path[-1] in _LINES)
        if character is not None:
            instead = not_a_path(".".join(setting_path), text) if setting_path[-1].endswith("_file") else None
            raise self.error(setting_path, instead or f"holds the control character {character}")
        return text


class _InvalidPath(Exception):
    """A text that cannot be a path, given for a path."""


def _checked_address(type_: Any, value: Any) -> Any:
    """Return a value, after checks of an address that patterns cannot make.

    Raises:
        msgspec.ValidationError: the address has no host, or an invalid port.
    """
    if not isinstance(value, str) or not any(
        pattern in str(type_) for pattern in (ORIGIN_PATTERN, URL_PATTERN)
    ):
        return value
    try:
        url = urlsplit(value)
        good = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good:
        raise msgspec.ValidationError("not an address")
    return value


def is_section(type_: Any) -> bool:
    """Return whether a setting's type is a struct of further settings."""
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def choices_of(type_: Any) -> tuple[str, ...]:
    """Return the accepted words of a setting with a fixed choice, else an empty tuple."""
    return get_args(type_) if get_origin(type_) is Literal else ()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint for a mistyped name, or an empty text."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
