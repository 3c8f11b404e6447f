"""From plain values to typed structs; every complaint names the setting, its place and what is possible."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from gateway.errors import BadSetting
from gateway.settings.expectations import complaint
from gateway.settings.secret import Secret

Place = tuple[str, ...]
Kind = TypeVar("Kind", bound=msgspec.Struct)


class Converter:
    """Converts trees of plain values.

    Args:
        witness: tells where the value at a place was said ("settings.yml, line 12"), for the messages.
        folder: what relative paths are relative to.
        strict: whether numbers and truth values must be such; an environment variable's are texts.
    """

    def __init__(self, witness: Callable[[Place], str], folder: Path, *, strict: bool = True) -> None:
        self._witness, self._folder, self._strict = witness, folder, strict

    def struct(self, kind: type[Kind], tree: Mapping[str, Any], place: Place, **ready: Any) -> Kind:
        """One struct and all below it.

        Args:
            kind: the struct.
            tree: what was said; what is not said has its default.
            place: where this struct stands among the settings.
            ready: fields that have their value already and may not stand in `tree`.

        Raises:
            BadSetting: an unknown key, or a value of the wrong type or out of range.
        """
        types = {field.name: field.type for field in msgspec.structs.fields(kind) if field.name not in ready}
        self.only_known(types, tree, place)
        values = {name: self.value(types[name], value, (*place, name)) for name, value in tree.items()}
        return kind(**values, **ready)

    def value(self, type_: Any, value: Any, place: Place) -> Any:
        """One value of whatever type a setting has."""
        if is_section(type_):
            return self.struct(type_, self.mapping(value, place), place)
        choices = choices_of(type_)
        if value is False and "off" in choices:
            value = "off"  # YAML 1.1 reads a bare `off` so
        if choices and value not in choices:
            raise self.wrong(place, f"expected one of {', '.join(choices)}, found {value!r}")
        try:
            return msgspec.convert(value, type_, strict=self._strict, dec_hook=self._adopt)
        except msgspec.ValidationError as error:
            raise self.wrong(place, complaint(type_, value, strict=self._strict)) from error
        except (UnicodeError, OverflowError, RecursionError) as error:
            # Bytes of the environment that are not UTF-8; a number beyond every range; a value nested without end.
            raise self.wrong(place, "the value cannot be read") from error

    def mapping(self, value: Any, place: Place) -> Mapping[str, Any]:
        """A mapping; an absent one is empty."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(place, "expected a mapping")
        return value

    def only_known(self, known: Iterable[str], tree: Mapping[str, Any], place: Place) -> None:
        """Refuse a key that is not known, naming the nearest one that is."""
        for name in tree:
            if name not in known:
                raise self.wrong((*place, name), "no such setting" + did_you_mean(name, known))

    def wrong(self, place: Place, what: str, *, said_at: Place | None = None) -> BadSetting:
        """The error about one setting, naming it and where it was said, or where another was that needs it."""
        name = ".".join(place)
        return BadSetting(f"{name}: {what} ({self._witness(said_at or place)})", field=name)

    def _adopt(self, kind: type, value: Any) -> Any:
        """msgspec's hook for the two types it does not know. Relative paths start at the folder."""
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise TypeError("a text is expected")
        if kind is Path:
            return self._folder / Path(value).expanduser()
        return Secret(
            value.rstrip("\r\n")
        )  # a mounted secret's last line often ends so; no header could carry it


def is_section(type_: Any) -> bool:
    """Whether a setting's type is a struct of further settings."""
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def choices_of(type_: Any) -> tuple[str, ...]:
    """The words a setting may have, if it has a fixed choice."""
    return get_args(type_) if get_origin(type_) is Literal else ()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
