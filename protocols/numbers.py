"""Strict parsing of numbers from outside, and the largest numbers that Redis and msgpack support.

`int()` and `float()` accept more than numbers: digits of other scripts, "1_000", surrounding whitespace, "nan" and
"1e999". `int()` of a text costs the square of its length and raises beyond 4,300 digits; `int(text, 16)` accepts any
length. Every number from a request, an event, a job, a response or a Redis value therefore goes through this module,
which checks the length first.
"""

from typing import Final

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
"""The highest integer of msgpack and of MessagePack's parsers in Lua."""
DIGITS_MAX: Final = 19
"""Decimal digits of `INT64_MAX`."""
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_LENGTH_MAX: Final = 64
"""Longest text that is parsed: zeros may precede the digits."""


def whole(text: str | bytes, lowest: int = 0, highest: int = INT64_MAX) -> int | None:
    """Parse a whole number: ASCII digits, after a minus sign if negative numbers are allowed.

    Args:
        text: the number and nothing else: no plus sign, no whitespace, no underscores.
        lowest: the lowest number that is allowed.
        highest: the highest number that is allowed.

    Returns:
        None if the text is not such a number, or is out of range.
    """
    if not text or len(text) > _LENGTH_MAX:
        return None
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    negative = lowest < 0 and text[0] == "-"
    digits = text[1:] if negative else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    number = -int(digits) if negative else int(digits)
    return number if lowest <= number <= highest else None


def stored(value: bytes | str | int | None, otherwise: int = 0) -> int:
    """Parse a counter or timestamp that is stored in Redis; `otherwise` if it is missing or not a 64-bit integer.

    Integer replies of Redis are returned unchanged. A damaged value, or one of another writer, must not stop its
    reader.
    """
    if value is None:
        return otherwise
    number = value if isinstance(value, int) else whole(value, INT64_MIN)
    return otherwise if number is None else number


def hexadecimal(text: str, digits: int) -> int | None:
    """Parse an unsigned number of exactly this many hexadecimal digits; None if the text is not one."""
    return int(text, 16) if len(text) == digits and _HEX_DIGITS.issuperset(text) else None
