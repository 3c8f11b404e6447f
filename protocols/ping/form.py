"""Forms and query strings with Rack's brackets: `user_id[]=a&user_id[]=b`, `attributes[login]=x`.

The rules are those of Rack 2.2, for which RhoConnect's callers and its web console (jQuery) were written: `a=1` is a
text, and the last one wins; `a[]=1` is a list; `a[b]=1` is an object; `a[][b]=1` is a list of objects, with a new
object if the key repeats; a bare `a` is null. Only "&" separates: ";" is data, as in the URL Standard.
"""

from collections.abc import Generator, Iterable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from protocols.errors import MalformedBody
from protocols.ping.limits import NAME_CHARACTERS, PAIRS_MAX, VALUE_CHARACTERS, too_long

DEPTH_MAX: Final = 32
"""Most brackets of one name; Rack 3's limit."""
PARAMETERS_MAX: Final = 1_100_000
"""A list of a million users fits; a longer form is not a ping."""
STEP_BYTES: Final = 8_192
"""Bytes parsed in one step: at most some 4,000 pairs, a few milliseconds."""
_LONG: Final = ["user_id", ""]
"""The only list that may be long."""
_ENCODED: Final = 12
"""A character has up to four bytes, each encoded in up to three, such as %41."""


def parameters(encoded: str | bytes, where: str) -> dict[str, Any]:
    """Decode a form or a query.

    Args:
        encoded: the text after "?" or the body.
        where: "body" or "query", for messages.

    Raises:
        MalformedBody: it is not percent-encoded UTF-8, a name is nested too deeply, or one name is used both as a
            text and as a list or object.
    """
    steps = parameters_in_steps(encoded, where)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: dict[str, Any] = end.value
            return found


def parameters_in_steps(encoded: str | bytes, where: str) -> Generator[None, None, dict[str, Any]]:
    """`parameters`, with `STEP_BYTES` in each step.

    Raises the same errors as `parameters`.
    """
    data = encoded.encode("utf-8", "surrogatepass") if isinstance(encoded, str) else encoded
    if data.count(b"&") >= PARAMETERS_MAX:
        raise _too_many(where, PARAMETERS_MAX)
    result: dict[str, Any] = {}
    at = others = 0
    while at < len(data):
        end = data.find(b"&", at + STEP_BYTES)
        end = len(data) if end < 0 else end
        for pair in data[at:end].split(b"&"):
            others += bool(pair) and _put_pair(result, pair, where)
        if others > PAIRS_MAX:
            raise _too_many(where, PAIRS_MAX)
        at = end + 1
        yield
    return result


def of_pairs(pairs: Iterable[tuple[str, bytes]], where: str) -> dict[str, Any]:
    """The parameters of decoded names and values, as in a multipart form.

    Raises:
        MalformedBody: as in `parameters`.
    """
    result: dict[str, Any] = {}
    for name, value in pairs:
        _put(result, _keys(name, where), _text(value, where), where)
    return result


def _put_pair(result: dict[str, Any], pair: bytes, where: str) -> bool:
    """Store one encoded pair, and return whether it was something else than a user of a list."""
    name, equals, value = pair.partition(b"=")
    if len(name) > NAME_CHARACTERS * _ENCODED:
        raise MalformedBody(f"a name in the {where} has more than {NAME_CHARACTERS} characters")
    keys = _keys(_decoded(name, where), where)
    if len(value) > VALUE_CHARACTERS * _ENCODED:
        raise too_long(keys[0][:NAME_CHARACTERS], VALUE_CHARACTERS)
    _put(result, keys, _decoded(value, where) if equals else None, where)
    return keys != _LONG


def _too_many(where: str, most: int) -> MalformedBody:
    return MalformedBody(f"the {where} has more than {most} parameters")


def _decoded(encoded: bytes, where: str) -> str:
    if b"+" in encoded:
        encoded = encoded.replace(b"+", b" ")
    if b"%" in encoded:
        encoded = unquote_to_bytes(encoded)
    return _text(encoded, where)


def _text(value: bytes, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the {where} holds bytes that are not UTF-8 once decoded") from error


def _keys(name: str, where: str) -> list[str]:
    """Split `a[b][]` into its keys: ["a", "b", ""]; "" stands for "append"."""
    first, bracket, rest = name.partition("[")
    if not bracket or not first or "]" not in rest:
        return [name]
    keys = [first]
    for part in rest.split("["):
        keys.append(part.partition("]")[0])
        if len(keys) > DEPTH_MAX:
            raise MalformedBody(f"a name in the {where} has more than {DEPTH_MAX} brackets")
    return keys


def _put(result: dict[str, Any], keys: list[str], value: str | None, where: str) -> None:
    """Store a value under its keys, and create the lists and objects on its path."""
    holder: dict[str, Any] | list[Any] | str | None = result
    for index, key in enumerate(keys):
        final = index == len(keys) - 1
        if isinstance(holder, list) and not key:
            if final:
                holder.append(value)
            else:
                holder = _list_item(holder, keys, index)
        elif isinstance(holder, dict) and (key or index == 0):
            if final:
                holder[key] = value
            else:
                holder = holder.setdefault(key, _empty(keys[index + 1]))
        else:
            name = keys[0][:64]
            raise MalformedBody(f"the {where} uses {name!r} in two ways: as a text, a list or an object")


def _empty(next_key: str) -> Any:
    return {} if next_key else []


def _list_item(holder: list[Any], keys: list[str], index: int) -> Any:
    """Find the item to which `a[][b]=` refers: the last one, or a new one if that has a `b` already."""
    following = keys[index + 1]
    current = holder[-1] if holder else None
    if following and type(current) is dict and not (index + 2 == len(keys) and following in current):
        return current
    item = _empty(following)
    holder.append(item)
    return item
