"""What a setting's type asks for, in an operator's words, and what a refused value is instead.

Made from the type itself: the errors of the converting library are worded differently from version to version.
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
from gateway.settings.secret import Secret

_FORMS: Final = {
    ORIGIN_PATTERN: "http:// or https:// with a host, perhaps a port, and no path",
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
    """The kind of a value: "a list"."""
    return next((words for kinds, words in _FOUND if isinstance(value, kinds)), "something else")


def complaint(type_: Any, value: Any, *, strict: bool) -> str:
    """What is wrong with a value that was refused; the value itself is never part of it.

    Args:
        type_: the setting's.
        value: what was said.
        strict: whether numbers and truth values must be such; else a text that writes one is taken.
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
        return f"expected {_FORMS.get(kind.pattern, 'another form')}"
    if isinstance(kind, IntType | FloatType) and _is_number(kind, value, strict=strict):
        return f"expected {_words(kind)}{_bound(kind, value)}"
    text = isinstance(kind, StrType | CustomType)
    hint = " (put it in quotes)" if text and isinstance(value, bool | int | float) else ""
    return f"expected {_words(kind)}, found {found_kind(value)}{hint}"


def _bound(kind: IntType | FloatType, value: Any) -> str:
    """The bound that a number breaks: " >= 1"; "": none."""
    number: type[int | float] = float if isinstance(kind, FloatType) else int
    for name, sign, holds in _BOUNDS:
        bound = getattr(kind, name)
        if bound is not None and not holds(number(value), bound):
            return f" {sign} {number(bound)}"
    return ""


def _words(kind: Type) -> str:
    return _WANTED.get(type(kind), "something else")


def _is_number(kind: Type, value: Any, *, strict: bool) -> bool:
    """Whether a refused value is a number all the same: then it is out of bounds."""
    if isinstance(value, str) and not strict:
        return (
            re.fullmatch(r"[+-]?\d{1,20}" if isinstance(kind, IntType) else r"[+-]?\d{1,20}(\.\d*)?", value)
            is not None
        )
    return isinstance(value, int if isinstance(kind, IntType) else int | float) and not isinstance(
        value, bool
    )


def _fits(kind: Type, value: Any, *, strict: bool) -> bool:
    """Whether an item of a list is of its kind and within its bounds."""
    if isinstance(kind, StrType):
        return isinstance(value, str)
    if isinstance(kind, CustomType):
        return isinstance(value, str | Path | Secret)
    if isinstance(kind, IntType | FloatType):
        return _is_number(kind, value, strict=strict) and not _bound(kind, value)
    return isinstance(value, bool) or not isinstance(kind, BoolType)
