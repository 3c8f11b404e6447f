"""Descriptions of the expected type of a setting, and of the type of a refused value, in an operator's words.

The descriptions are derived from the type: the error texts of the converting library differ between versions.
"""

import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec.inspect import (
    BoolType,
    CustomType,
    FloatType,
    IntType,
    ListType,
    NoneType,
    StrType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from gateway.settings.kinds import ORIGIN_PATTERN, URL_PATTERN
from gateway.system.secret import Secret

_FORMS: Final = {
    ORIGIN_PATTERN: "http:// or https:// with a host, optionally a port, and no path",
    URL_PATTERN: "an http:// or https:// address",
}
_WANTED: Final[dict[type[Type], str]] = {
    StrType: "text",
    CustomType: "text",
    IntType: "a whole number",
    FloatType: "a number",
    BoolType: "true or false",
    ListType: "a list",
    VarTupleType: "a list",
}
_FOUND: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((bool,), "true or false"),
    ((int,), "a whole number"),
    ((float,), "a number"),
    ((str,), "text"),
    ((list, tuple), "a list"),
    ((Mapping,), "a mapping"),
    ((type(None),), "nothing"),
)
_BOUNDS: Final = (
    ("ge", ">=", operator.ge),
    ("gt", ">", operator.gt),
    ("le", "<=", operator.le),
    ("lt", "<", operator.lt),
)


def found_kind(value: Any) -> str:
    """Return a description of a value's type: "a list"."""
    return next((words for kinds, words in _FOUND if isinstance(value, kinds)), "something else")


def complaint(type_: Any, value: Any, *, strict: bool) -> str:
    """Return the reason why a value was refused, without the value itself.

    Args:
        type_: the type of the setting.
        value: the given value.
        strict: whether numbers and booleans must have these types; else a text form is accepted.
    """
    wanted = type_info(type_)
    if isinstance(wanted, UnionType):
        kinds = [kind for kind in wanted.types if not isinstance(kind, NoneType)]
    else:
        kinds = [wanted]
    if len(kinds) == 1:
        return _of_kind(kinds[0], value, strict=strict)
    return f"expected {' or '.join(_words(kind) for kind in kinds)}, found {found_kind(value)}"


def _of_kind(kind: Type, value: Any, *, strict: bool) -> str:
    if isinstance(kind, ListType | VarTupleType) and isinstance(value, list | tuple):
        item = next((item for item in value if not _fits(kind.item_type, item, strict=strict)), None)
        return _of_kind(kind.item_type, item, strict=strict)
    if isinstance(kind, StrType) and kind.pattern is not None and isinstance(value, str):
        return f"expected {_FORMS.get(kind.pattern, 'a different format')}"
    if isinstance(kind, IntType | FloatType) and _is_number(kind, value, strict=strict):
        return f"expected {_words(kind)}{_bound(kind, value)}"
    text = isinstance(kind, StrType | CustomType)
    hint = " (put it in quotes)" if text and isinstance(value, bool | int | float) else ""
    return f"expected {_words(kind)}, found {found_kind(value)}{hint}"


def _bound(kind: IntType | FloatType, value: Any) -> str:
    """Return the bound that a number violates: " >= 1"; "" if there is none."""
    number: type[int | float] = float if isinstance(kind, FloatType) else int
    for name, sign, holds in _BOUNDS:
        bound = getattr(kind, name)
        if bound is not None and not holds(number(value), bound):
            return f" {sign} {number(bound)}"
    return ""


def _words(kind: Type) -> str:
    return _WANTED.get(type(kind), "something else")


def _is_number(kind: Type, value: Any, *, strict: bool) -> bool:
    """Return whether a refused value is a number: then it is out of range."""
    if isinstance(value, str) and not strict:
        return (
            re.fullmatch(r"[+-]?\d{1,20}" if isinstance(kind, IntType) else r"[+-]?\d{1,20}(\.\d*)?", value)
            is not None
        )
    return isinstance(value, int if isinstance(kind, IntType) else int | float) and not isinstance(
        value, bool
    )


def _fits(kind: Type, value: Any, *, strict: bool) -> bool:
    """Return whether an item of a list has its type and is within its bounds."""
    if isinstance(kind, StrType):
        return isinstance(value, str)
    if isinstance(kind, CustomType):
        return isinstance(value, str | Path | Secret)
    if isinstance(kind, IntType | FloatType):
        return _is_number(kind, value, strict=strict) and not _bound(kind, value)
    return isinstance(value, bool) or not isinstance(kind, BoolType)
