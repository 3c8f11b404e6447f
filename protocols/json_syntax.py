"""Finds the fault in a text that a JSON decoder refused, and describes it in this project's own wording.

Decoders word their errors differently in each version, so their texts must not reach a caller. The rules are those
of RFC 8259. This module is used on the error path only. Its work is bounded: it makes one pass over the bytes, in
matches of bounded length, and ends after `STEPS_MAX` steps.
"""

import codecs
import re
from typing import Final, NamedTuple

STEPS_MAX: Final = 30_000
"""Steps after which the search ends: about 20 milliseconds, since anyone can send a text with a fault."""
_BULK_STEPS: Final = 8
"""Steps for which a match of up to 256 plain items or members counts, since it takes as long."""
DEPTH_MAX: Final = 200
"""A text without a syntax fault that is nested deeper was refused for its depth."""
DIGITS_MAX: Final = 4_300
"""Most digits of an integer that Python parses (`sys.int_info.default_max_str_digits`)."""
_UTF8_STEP: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"

# Without possessive quantifiers: those of Python 3.11.0 to 3.11.2 match wrongly (python/cpython#101955). No two
# adjacent parts can match the same byte, so a failing match backtracks in one pass.
_SPACE: Final = rb"[ \t\n\r]*"
_RUN: Final = rb"[^\"\\\x00-\x1f]*"
_ESCAPE: Final = (
    rb"\\(?:[\"\\/bfnrt]"
    rb"|u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}"
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_SHORT_TEXT: Final = rb'"' + _RUN + rb"(?:" + _ESCAPE + _RUN + rb'){0,64}"'
_SMALL_NUMBER: Final = rb"-?(?:0|[1-9][0-9]{0,200})(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?(?=[ \t\n\r,])"
_PLAIN: Final = (
    rb"(?:" + _SHORT_TEXT + rb"|" + _SMALL_NUMBER + rb"|true|false|null|\[\]|\{\})" + _SPACE + rb","
)
_NAME: Final = _SHORT_TEXT + _SPACE + rb":" + _SPACE
_spaces: Final = re.compile(_SPACE).match
_items: Final = re.compile(rb"(?:" + _SPACE + _PLAIN + rb"){0,256}").match
_members: Final = re.compile(rb"(?:" + _SPACE + _NAME + _PLAIN + rb"){0,256}").match
_pieces: Final = re.compile(_RUN + rb"(?:" + _ESCAPE + _RUN + rb"){0,4096}").match
_number: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").match
_hex: Final = re.compile(rb"[0-9a-fA-F]{0,4}").match
_WORDS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_CLOSING: Final = {ord("["): ord("]"), ord("{"): ord("}")}
_SURROGATE: Final = "an escaped surrogate (\\ud800 to \\udfff) without its other half"
_TOO_DEEP: Final = "it is nested too deeply"
_TOO_EARLY: Final = "it ends too early"
_INVALID: Final = "invalid character"


class SyntaxFault(NamedTuple):
    """The fault of a text that should be JSON.

    Attributes:
        text: the fault and its position, for an error message: "invalid character (byte 9, line 2, column 8)".
        out_of_range: whether the syntax is correct and a number cannot be represented.
    """

    text: str
    out_of_range: bool = False


class _Found(Exception):
    def __init__(self, what: str, at: int, *, out_of_range: bool = False) -> None:
        super().__init__(what)
        self.what, self.at, self.out_of_range = what, at, out_of_range


def find_fault(text: bytes) -> SyntaxFault:
    """Find out why a decoder refused a text.

    Args:
        text: the refused text.

    Returns:
        The first fault with its position. It has no position if the text is nested too deeply, or if it is JSON and
            was refused for another reason.
    """
    try:
        _check_encoding(text)
        deepest = _Scan(text).depth_of_whole()
    except _Found as found:
        return SyntaxFault(f"{found.what} ({position(text, found.at)})", found.out_of_range)
    return SyntaxFault(_TOO_DEEP if deepest > DEPTH_MAX else "it holds a value that cannot be read")


def position(text: bytes, at: int) -> str:
    """A position in a text: the byte from 0; line and column (in bytes) from 1."""
    line = text.count(b"\n", 0, at) + 1
    column = at - text.rfind(b"\n", 0, at)
    return f"byte {at}, line {line}, column {column}"


def _check_encoding(text: bytes) -> None:
    """Check the encoding in parts: decoding a text of megabytes as a whole would take four times its size."""
    if text.startswith(_BOM):
        raise _Found("begins with a byte order mark, which JSON over HTTP must not have (RFC 8259 §8.1)", 0)
    view, at = memoryview(text), 0
    while at < len(text):
        part = view[at : at + _UTF8_STEP]
        try:
            _, read = codecs.utf_8_decode(part, "strict", at + len(part) == len(text))
        except UnicodeDecodeError as error:
            raise _Found("is not UTF-8", at + error.start) from None
        at += read


class _Scan:
    """One pass over a text, without recursion."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._open = bytearray()  # the open brackets
        self._fresh = False  # the innermost bracket was just opened
        self._deepest = 0
        self._steps = 0

    def depth_of_whole(self) -> int:
        """Nesting depth of the text.

        Raises:
            _Found: the text is not JSON.
        """
        self._value()
        while self._open:
            if self._fresh:
                self._first()
            else:
                self._after_value()
        if self._next() is not None:
            raise _Found("trailing characters", self._at)
        return self._deepest

    def _next(self) -> int | None:
        """The next byte that is not white space; None: the end."""
        self._count(1)
        match = _spaces(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at] if self._at < len(self._text) else None

    def _count(self, steps: int) -> None:
        self._steps += steps
        if self._steps > STEPS_MAX:
            deep = self._deepest > DEPTH_MAX
            raise _Found(_TOO_DEEP if deep else "it is not JSON at this position or after it", self._at)

    def _expected(self, what: str, found: int | None) -> _Found:
        return _Found(_TOO_EARLY if found is None else what, self._at)

    def _after_value(self) -> None:
        """Process the end of a value in a list or an object: the next value, or the closing bracket."""
        bracket = self._open[-1]
        found = self._next()
        if found == _CLOSING[bracket]:
            self._at += 1
            self._open.pop()
        elif found == ord(","):
            self._at += 1
            self._one(bracket)
        else:
            wanted = "expected ',' or ']'" if bracket == ord("[") else "expected ',' or '}'"
            raise self._expected(wanted, found)

    def _one(self, bracket: int) -> None:
        """Process an item or a member, and all plain ones before it."""
        self._count(_BULK_STEPS)
        match = (_items if bracket == ord("[") else _members)(self._text, self._at)
        self._at = match.end() if match else self._at
        if self._next() == _CLOSING[bracket]:
            raise _Found(f"trailing comma in {'a list' if bracket == ord('[') else 'an object'}", self._at)
        if bracket == ord("{"):
            self._name()
        self._value()

    def _name(self) -> None:
        found = self._next()
        if found != ord('"'):
            raise self._expected("expected a name in double quotes", found)
        self._string()
        found = self._next()
        if found != ord(":"):
            raise self._expected("expected ':'", found)
        self._at += 1

    def _value(self) -> None:
        found = self._next()
        if found == ord('"'):
            self._string()
        elif found in _CLOSING:
            self._begin(found)
        elif found is not None and found in b"-0123456789":
            self._digits()
        elif found in _WORDS:
            self._word(_WORDS[found])
        else:
            raise self._expected(_INVALID, found)

    def _begin(self, bracket: int) -> None:
        self._at += 1
        self._open.append(bracket)
        self._fresh = True
        self._deepest = max(self._deepest, len(self._open))

    def _first(self) -> None:
        bracket, self._fresh = self._open[-1], False
        if self._next() == _CLOSING[bracket]:
            self._at += 1
            self._open.pop()
        else:
            self._one(bracket)

    def _word(self, word: bytes) -> None:
        for byte in word:
            if self._at == len(self._text):
                raise _Found(_TOO_EARLY, self._at)
            if self._text[self._at] != byte:
                raise _Found(_INVALID, self._at)
            self._at += 1

    def _digits(self) -> None:
        begun, match = self._at, _number(self._text, self._at)
        self._at = match.end() if match else begun + 1
        left = self._text[self._at : self._at + 1]
        if match is None or left in (b".", b"e", b"E") or left.isdigit():
            self._broken_number(left)
        _check_range(self._text[begun : self._at], begun)

    def _broken_number(self, left: bytes) -> None:
        """Report a sign, point or exponent without digits, or a leading zero."""
        at = self._at
        if left in (b".", b"e", b"E"):
            at += 1
            at += left != b"." and self._text[at : at + 1] in (b"+", b"-")
        raise _Found(_TOO_EARLY if at == len(self._text) else "invalid number", at)

    def _string(self) -> None:
        self._at += 1
        while (match := _pieces(self._text, self._at)) and match.end() > self._at:
            self._at = match.end()
        if self._text[self._at : self._at + 1] != b'"':
            self._broken_string()
        self._at += 1

    def _broken_string(self) -> None:
        text, at = self._text, self._at
        if at < len(text) and text[at] != ord("\\"):
            raise _Found("control character in a text", at)
        if at + 1 >= len(text):
            raise _Found(_TOO_EARLY, len(text))
        if text[at + 1] != ord("u"):
            raise _Found("invalid escape in a text", at)
        digits = _hex(text, at + 2)
        end = digits.end() if digits else at + 2
        if end - at == 6:
            raise _Found(_SURROGATE, at)
        raise _Found(_TOO_EARLY if end == len(text) else "invalid escape in a text", end)


def _check_range(digits: bytes, at: int) -> None:
    if digits.lstrip(b"-").isdigit():
        beyond = len(digits) > DIGITS_MAX
    else:
        beyond = float(digits) in (float("inf"), float("-inf"))
    if beyond:
        raise _Found("a number is out of range", at, out_of_range=True)
