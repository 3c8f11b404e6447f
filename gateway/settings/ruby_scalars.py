"""The value of a plain YAML scalar in Ruby, and Ruby's text form of a value.

RhoConnect reads `settings.yml` with Ruby's YAML library (Psych), whose rules for plain scalars differ from those of
YAML 1.1 and of PyYAML: `:name` is a symbol, `1,000` is a number, `y` is a text. RhoConnect then converts a value by
`to_s` where it needs a text. The tests compare both with Ruby itself.
"""

import re
from collections.abc import Callable
from typing import Any, Final

Scalar = str | int | float | bool | None

_CHARACTERS_MAX: Final = 64
"""Longest scalar that can be a number: no setting has more digits."""

_WORDS: Final[dict[str, Scalar]] = {
    "": None,
    "~": None,
    "null": None,
    "yes": True,
    "true": True,
    "on": True,
    "no": False,
    "false": False,
    "off": False,
}


def _symbol(text: str) -> str:
    name = text[1:]
    quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "\"'"
    return name[1:-1].removeprefix(":") if quoted else name


def _sexagesimal(text: str) -> int | float:
    """Parse `[-]H:M[:S]`. Ruby counts from the left: two parts are hours and minutes, in seconds."""
    total: int | float = 0
    for index, part in enumerate(text.replace("_", "").split(":")):
        total += (float(part) if "." in part else int(part)) * 60 ** abs(index - 2)
    return total


def _float(text: str) -> float:
    return float(text.replace(",", "").replace("_", ""))


def _integer(text: str) -> int:
    digits = text.replace(",", "").replace("_", "").lower()
    unsigned = digits.lstrip("+-")
    octal = len(unsigned) > 1 and unsigned[0] == "0" and unsigned[1].isdigit()
    value = int(unsigned, 8) if octal else int(unsigned, 0)
    return -value if digits.startswith("-") else value


_RULES: Final[tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...]] = (
    # Dates and times stay text, as written: no setting is a date, but a token may look like one.
    (re.compile(r"-?\d{4}-\d{1,2}-\d{1,2}(?:(?:[Tt]|\s+)\d.*)?"), str),
    (re.compile(r"\+?\.inf", re.IGNORECASE), lambda _: float("inf")),
    (re.compile(r"-\.inf", re.IGNORECASE), lambda _: float("-inf")),
    (re.compile(r"\.nan", re.IGNORECASE), lambda _: float("nan")),
    (re.compile(r":.+"), _symbol),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9]){1,2}(?:\.[0-9_]*)?"), _sexagesimal),
    (re.compile(r"[-+]?(?:[0-9][0-9_,]*\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?"), _float),
    (
        re.compile(
            r"[-+]?(?:0b[01_,]+|0[0-7_,]+|0|[1-9](?:[0-9]|,[0-9]|_[0-9])*|0x[0-9a-fA-F_,]+)",
        ),
        _integer,
    ),
)


def scalar(text: str) -> Scalar:
    """Return the value of a plain scalar without a tag."""
    if len(text) > _CHARACTERS_MAX:
        return _symbol(text) if text.startswith(":") else text
    word = text.lower()
    if word in _WORDS:
        return _WORDS[word]
    for pattern, value_of in _RULES:
        if pattern.fullmatch(text):
            try:
                return value_of(text)
            except ValueError:  # `0x_`: Ruby treats it as text, too
                return text
    return text


def text_of(value: Any) -> Any:
    """Return the text that Ruby's `to_s` makes of a number or a boolean; any other value is returned unchanged."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return str(value) if isinstance(value, int) else value


def _float_text(value: float) -> str:
    """Format a float as Ruby does: at least one digit after the point, and Ruby's names of infinity and NaN."""
    text = repr(value)
    if text.endswith(("inf", "nan")):
        return text.replace("inf", "Infinity").replace("nan", "NaN")
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent}"
