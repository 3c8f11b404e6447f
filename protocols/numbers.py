"""Numbers in what others send: the one strict parser, and the widest numbers that Redis and msgpack carry.

`int()` and `float()` take more than a number: digits of other scripts, "1_000", surrounding whitespace, "nan" and
"1e999". `int()` of a text costs the square of its length and raises beyond 4,300 digits; `int(text, 16)` takes any
length. Every number from a request, an event, a job, an answer or a Redis value therefore goes through this module,
which looks at the length first.
"""

from typing import Final

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
"""The highest integer of msgpack and of MessagePack's readers in Lua."""
DIGITS_MAX: Final = 19
"""Decimal digits of `INT64_MAX`."""
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_LENGTH_MAX: Final = 64
"""Longest text that is looked at: zeros may stand before the digits."""


def whole(text: str | bytes, lowest: int = 0, highest: int = INT64_MAX) -> int | None:
    """Read a whole number: ASCII digits, after a minus sign where negative numbers are allowed.

    Args:
        text: the number and nothing else: no plus sign, no whitespace, no underscores.
        lowest: the lowest number that is allowed.
        highest: the highest number that is allowed.

    Returns:
        None where the text is no such number, or is out of range.
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
    """Read a counter or an instant that Redis keeps; `otherwise` where it is missing or no 64-bit integer.

    Redis' own replies of integers pass unchanged. A foreign or damaged value must not end the work of its reader.
    """
    if value is None:
        return otherwise
    number = value if isinstance(value, int) else whole(value, INT64_MIN)
    return otherwise if number is None else number


def hexadecimal(text: str, digits: int) -> int | None:
    """Read an unsigned number of exactly so many hexadecimal digits; None where the text is none."""
    return int(text, 16) if len(text) == digits and _HEX_DIGITS.issuperset(text) else None


def is_int64(number: int) -> bool:
    """Whether Redis can keep an integer as one."""
    return INT64_MIN <= number <= INT64_MAX
