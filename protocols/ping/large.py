"""Parsing of large JSON bodies in steps of some milliseconds; the first step, in C, only locates the parameters.

msgspec decodes 27 MB with a million logins in 100 ms, during which nothing else runs; it locates the values of the
parameters in 13 ms. Only the list of users of a ping may be long: it is decoded `STEP_ITEMS` at a time. All other
values have a limit, so that neither millions of names nor of lists are ever decoded.
"""

import re
from collections.abc import Generator, Iterable
from typing import Any, Final

import msgspec

from protocols.errors import MalformedBody
from protocols.ping.limits import NAME_CHARACTERS, NAMES_MAX, VALUE_CHARACTERS, too_long

LARGE_BYTES: Final = 65_536
"""Longest body that is parsed in one step."""
STEP_ITEMS: Final = 2_000
_ESCAPED: Final = 6
"""Length of the longest form of a character in JSON: \\u0041."""
_ENCODED_MAX: Final = VALUE_CHARACTERS * _ESCAPED + 2
_REST_BYTES_MAX: Final = 65_536
"""Most bytes of names, unknown parameters and the text between values."""
_NESTED_BYTES_MAX: Final = 524_288
"""Most bytes of users in lists of lists, or beside values that are not logins."""
_LISTS_MAX: Final = 2_000_000
"""Locating the end of this many lists and objects takes some 30 ms."""
_MEMBERS_MAX: Final = 2_000_000
"""Skipping this many members takes some 60 ms."""
# Without possessive quantifiers: those of Python 3.11.0 to 3.11.2 match wrongly (python/cpython#101955). Instead,
# the number of escapes in a text is bounded: no login has more.
_ITEM: Final = (
    rb'\s*(?:"[^"\\]*(?:\\.[^"\\]*){0,%d}"|-?[0-9][0-9.eE+-]*|true|false|null)\s*' % NAME_CHARACTERS
)
_ITEMS: Final = re.compile(rb"(?:%b,){1,%d}" % (_ITEM, STEP_ITEMS), re.DOTALL)


class _Name:
    """The name of a parameter. Equal names are different keys, so that each value of a repeated parameter is decoded: a
    value that is only located may have invalid UTF-8 or a number out of range."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _named(_: type, text: str) -> _Name:
    return _Name(text)


_raws: Final = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_named).decode
_decode: Final = msgspec.json.Decoder(Any).decode
_list: Final = msgspec.json.Decoder(list[Any]).decode


class LargeBodyReader:
    """Parses large bodies.

    Args:
        names: the parameters of a ping.
        where: what the parameters are in, for messages.
    """

    def __init__(self, names: Iterable[str], where: str) -> None:
        self._names = tuple(names)
        self._where = where
        nothing = msgspec.Raw()
        fields = [
            (f"parameter_{number}", msgspec.Raw, msgspec.field(default=nothing, name=name))
            for number, name in enumerate(self._names)
        ]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Values", fields)).decode

    def parameters(self, body: bytes) -> Generator[None, None, dict[str, Any]]:
        """All parameters; for unknown ones only the names are relevant.

        Raises:
            ValueError, RecursionError: the body is not a JSON object.
            MalformedBody, InvalidField: the body is over a limit.
        """
        if not body.strip():
            return {}
        if body.count(b"[") + body.count(b"{") > _LISTS_MAX or body.count(b":") > _MEMBERS_MAX:
            # locating the ends of the values alone would take long
            raise MalformedBody(f"{self._where} has too many lists and objects")
        yield
        self._refuse_long_rest(body)
        yield
        values = _raws(body)
        yield
        if len({name.text for name in values}) > NAMES_MAX:
            raise MalformedBody(f"{self._where} has more than {NAMES_MAX} parameters")
        found: dict[str, Any] = {}
        for name, raw in values.items():
            if name.text == "user_id":
                found[name.text] = yield from _users(raw)
            else:
                found[name.text] = _value(name.text, raw)
        return found

    def _refuse_long_rest(self, body: bytes) -> None:
        """Raise MalformedBody if anything besides the values of known parameters is long."""
        known = sum(map(len, msgspec.structs.astuple(self._decode(body))))
        if len(body) - known > _REST_BYTES_MAX:
            raise MalformedBody(
                f"{self._where} has more than {_REST_BYTES_MAX} bytes besides the parameters of a ping"
            )


def _value(name: str, raw: msgspec.Raw) -> Any:
    if len(raw) > _ENCODED_MAX:
        raise too_long(name, VALUE_CHARACTERS)
    return _decode(raw)  # the rule of each parameter limits its nesting


def _users(raw: msgspec.Raw) -> Generator[None, None, Any]:
    """The value of `user_id`; a list is parsed in steps."""
    view = memoryview(raw)
    first = bytes(view[:1])
    if first == b'"' and len(view) > NAME_CHARACTERS * _ESCAPED + 2:
        raise too_long("user_id", NAME_CHARACTERS)
    if first != b"[":
        # A value that is not a login is named in the warning, whatever it contains.
        return _decode(raw) if len(view) <= LARGE_BYTES else {}
    items: list[Any] = []
    at = 1
    while (match := _ITEMS.match(view, at)) is not None:
        items += _list(b"".join((b"[", view[at : match.end() - 1], b"]")))
        at = match.end()
        yield
    if len(view) - at > _NESTED_BYTES_MAX:
        raise too_long("user_id", _NESTED_BYTES_MAX, "bytes in lists of lists")
    items += _list(b"".join((b"[", view[at:])))
    yield
    return items
