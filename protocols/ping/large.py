"""A large JSON body, read in steps of some milliseconds: first only where each parameter begins and ends, in C.

msgspec decodes 27 MB with a million logins in 100 ms, during which nothing else runs; it finds the sixteen values in
13 ms. What may be long in a ping is its list of users: that one is decoded `STEP_ITEMS` at a time. Everything else
has a limit, so that neither millions of names nor of lists are ever decoded.
"""

import re
from collections.abc import Generator, Iterable
from typing import Any, Final

import msgspec

from protocols.errors import MalformedBody
from protocols.ping.limits import NAME_CHARACTERS, NAMES_MAX, VALUE_CHARACTERS, too_long

LARGE_BYTES: Final = 65_536
"""A longer body is read so."""
STEP_ITEMS: Final = 2_000
_ESCAPED: Final = 6  # the longest form of a character in JSON: \u0041
_ENCODED_MAX: Final = VALUE_CHARACTERS * _ESCAPED + 2
_REST_BYTES_MAX: Final = 65_536  # names, unknown parameters and what stands between
_NESTED_BYTES_MAX: Final = 524_288  # of users in lists of lists, or beside values that are no logins
_LISTS_MAX: Final = 2_000_000  # finding the end of so many lists and objects takes some 30 ms
_MEMBERS_MAX: Final = 2_000_000  # and passing over so many members some 60 ms
# Without possessive quantifiers: those of Python 3.11.0 to 3.11.2 match wrongly (python/cpython#101955). The number of
# escapes in a text is bounded instead: no login has more.
_ITEM: Final = (
    rb'\s*(?:"[^"\\]*(?:\\.[^"\\]*){0,%d}"|-?[0-9][0-9.eE+-]*|true|false|null)\s*' % NAME_CHARACTERS
)
_ITEMS: Final = re.compile(rb"(?:%b,){1,%d}" % (_ITEM, STEP_ITEMS), re.DOTALL)
_raws: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode: Final = msgspec.json.Decoder(Any).decode
_list: Final = msgspec.json.Decoder(list[Any]).decode


class LargeBodyReader:
    """Reads large bodies.

    Args:
        names: the parameters that a ping may have.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        nothing = msgspec.Raw()
        fields = [
            (f"parameter_{number}", msgspec.Raw, msgspec.field(default=nothing, name=name))
            for number, name in enumerate(self._names)
        ]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Values", fields)).decode

    def parameters(self, body: bytes) -> Generator[None, None, dict[str, Any]]:
        """All parameters; of unknown ones only the names count.

        Raises:
            ValueError, RecursionError: it is no JSON object.
            MalformedBody, InvalidField: it is over a limit.
        """
        if not body.strip():
            return {}
        _refuse_many(body)
        yield
        self._refuse_long_rest(body)
        yield
        values = _raws(body)
        yield
        if len(values) > NAMES_MAX:
            raise MalformedBody(f"the body has more than {NAMES_MAX} parameters")
        found: dict[str, Any] = {}
        for name, raw in values.items():
            if name == "user_id":
                found[name] = yield from _users(raw)
            else:
                found[name] = _value(name, raw)
        return found

    def _refuse_long_rest(self, body: bytes) -> None:
        """Raise MalformedBody where anything besides the values of known parameters is long."""
        known = sum(map(len, msgspec.structs.astuple(self._decode(body))))
        if len(body) - known > _REST_BYTES_MAX:
            raise MalformedBody(
                f"the body has more than {_REST_BYTES_MAX} bytes besides the parameters of a ping"
            )


def _refuse_many(body: bytes) -> None:
    """Raise MalformedBody where finding the ends of values alone would take long."""
    if body.count(b"[") + body.count(b"{") > _LISTS_MAX or body.count(b":") > _MEMBERS_MAX:
        raise MalformedBody("the body has too many lists and objects")


def _value(name: str, raw: msgspec.Raw) -> Any:
    if len(raw) > _ENCODED_MAX:
        raise too_long(name, VALUE_CHARACTERS)
    return _decode(raw)  # how deep it may be nested, each parameter says itself


def _users(raw: msgspec.Raw) -> Generator[None, None, Any]:
    """The value of `user_id`, a list of it in steps."""
    view = memoryview(raw)
    first = bytes(view[:1])
    if first == b'"' and len(view) > NAME_CHARACTERS * _ESCAPED + 2:
        raise too_long("user_id", NAME_CHARACTERS)
    if first != b"[":
        # What is no login is named in the warning, whatever it holds.
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
