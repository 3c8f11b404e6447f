"""Rules of a ping's parameters: one small function for each kind of value (contract §1.2 and §10).

Accepted values and their meaning; all others are refused with InvalidField:

- user_id: a text, or lists of texts, nested or not; null, missing, [] and "" mean no user. A number, a boolean or an
  object means no user too, as in RhoConnect, but is named in the warning.
- sources: a list of names, one name, or names with commas; "all" in any letter case is every source.
- source_id: the same, if `sources` is missing or null.
- message: any JSON; null and "" are no message. Refused: more than 64 levels, integers beyond 64 bits.
- badge: a number, or a text parsed as by Ruby's to_i: "5x" is 5, "x" and "" are 0, 2.9 is 2; from 0 to 2^31-1.
  Exactly "+1" is one more than the device has (`ONE_MORE`); RhoConnect reads it as 1.
- vibrate: the same in milliseconds, but "" is no vibration (contract §10: a missing one is omitted).
- sound, title: a text; "" is none.
- async, wait: true or false; of texts, those of `_FALSE_WORDS` are false, others true; of numbers, 0 is false.
- ttl_s: whole seconds from 0 to 2,419,200, also as a text of digits.
- priority: "high" or "normal" in any letter case; "" is none.
- collapse_id: a text of at most 64 bytes that is valid in a header; "" is none.
- apns, fcm: an object, or its JSON as text (for forms); see `protocols.ping.overrides`.
- to: an object, or its JSON as text; see `protocols.ping.address`.
- deliver_at: a time by RFC 3339 §5.6 with its zone, or seconds since 1970 up to the year 3000, also as a text.
- api_token: a text; anything else is no token.

`protocols.ping.limits` defines the longest value of each.
"""

import math
import re
from collections.abc import Generator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from protocols.errors import InvalidField, wrong_type
from protocols.numbers import INT64_MIN, UINT64_MAX
from protocols.ping.limits import (
    DEPTH_MAX,
    MESSAGE_CHARACTERS,
    NAME_CHARACTERS,
    SOURCES_CHARACTERS,
    TEXTS,
    WORD_CHARACTERS,
    bounded,
    too_long,
)
from protocols.ping.model import ALL_SOURCES

COLLAPSE_ID_BYTES: Final = 64
"""Longest apns-collapse-id (Apple, "Sending notification requests to APNs")."""
TTL_MAX_S: Final = 2_419_200
"""Four weeks: FCM's longest time to live; Apple stores for 30 days."""
ONE_MORE: Final = "+1"
"""The badge that counts up; in a form it is written `%2B1`, since `+` means a blank there."""
NUMBER_MAX: Final = 2**31 - 1
"""FCM's notification_count is an int32."""

_ALL_CHARACTERS: Final = len(ALL_SOURCES)
_FEW_NAMES: Final = 60
"""Number of names up to which their total length needs no check."""
_FALSE_WORDS: Final = frozenset({"", "0", "false", "f", "no", "n", "off"})
_PRIORITIES: Final = frozenset({"high", "normal"})
_TO_I: Final = re.compile(r"\s*([+-]?\d+(?:_\d+)*)", re.ASCII)
_NUMBER_TEXT_MAX: Final = 64
"""Length of a text's beginning that is parsed as a number; Ruby's to_i parses the beginning, too."""
_DIGITS: Final = re.compile(r"(-?)(\d+)", re.ASCII)
_DIGITS_MAX: Final = 9
EPOCH_S_MAX: Final = 32_503_680_000
"""The beginning of the year 3000. A larger number is probably a time in milliseconds."""
_INSTANT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d):(\d\d)(?:\.(\d+))?"
    r"(?:[Zz]|([+-])(\d\d):([0-5]\d))",
    re.ASCII,
)
_LEAP_SECOND: Final = 60
_EPOCH: Final = re.compile(r"(-?)(\d{1,18})(?:\.(\d+))?", re.ASCII)
_INSTANT_EXPECTED: Final = "an RFC 3339 time with its zone, as 2030-01-31T09:30:00Z, or seconds since 1970"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


USERS_STEP: Final = 4_000
"""Users parsed in one step: about a millisecond."""


def flat(value: list[Any], field: str) -> list[Any]:
    """Flatten nested lists, in order, without recursion, since a caller's nesting may be deep.

    Raises:
        InvalidField: it is deeper than `DEPTH_MAX`.
    """
    if not any(type(item) is list for item in value):
        return value
    items: list[Any] = []
    stack = [iter(value)]
    while stack:
        for item in stack[-1]:
            if type(item) is list:
                stack.append(iter(item))
                if len(stack) > DEPTH_MAX:
                    raise _too_deep(field)
                break
            items.append(item)
        else:
            stack.pop()
    return items


def users(value: Any) -> tuple[tuple[str, ...], bool]:
    """Parse `user_id`: the logins in order without duplicates, and whether all values were logins."""
    login = value[0] if type(value) is list and len(value) == 1 else value
    if type(login) is str:  # the common case
        if len(login) > NAME_CHARACTERS:
            raise too_long("user_id", NAME_CHARACTERS)
        return ((login,) if login else ()), True
    if type(value) is not list:
        return (), value is None
    logins: dict[str, None] = {}
    understood = _add_users(logins, value)
    logins.pop("", None)
    return tuple(logins), understood


def users_in_steps(value: list[Any]) -> Generator[None, None, tuple[tuple[str, ...], bool]]:
    """`users` for a long list, `USERS_STEP` in each step, so that other work can run between the steps."""
    logins: dict[str, None] = {}
    understood = True
    for start in range(0, len(value), USERS_STEP):
        understood = _add_users(logins, value[start : start + USERS_STEP]) and understood
        yield
    logins.pop("", None)
    return tuple(logins), understood


def _add_users(logins: dict[str, None], value: list[Any]) -> bool:
    """Add logins without duplicates, and return whether all values were logins."""
    if set(map(type, value)) == {str}:
        if max(map(len, value)) > NAME_CHARACTERS:
            raise too_long("user_id", NAME_CHARACTERS)
        logins.update(dict.fromkeys(value))
        return True
    items = flat(value, "user_id")
    names = [bounded(item, "user_id", NAME_CHARACTERS) for item in items if type(item) is str]
    logins.update(dict.fromkeys(names))
    return len(names) == len(items)


def sources(value: Any, field: str) -> tuple[str, ...]:
    """Parse `sources` or `source_id`: names in order without duplicates; ("all",) for every source."""
    name = value[0] if type(value) is list and len(value) == 1 else value
    if type(name) is str and name.isalnum() and _ALL_CHARACTERS != len(name) <= NAME_CHARACTERS:
        return (name,)  # usually one plain name
    if type(value) is str:
        items: list[Any] = bounded(value, field, SOURCES_CHARACTERS).split(",")
    elif type(value) is list:
        items = flat(value, field)
    else:
        raise wrong_type(field, "a name, names with commas, or a list of names", value)
    names: dict[str, None] = {}
    for item in items:
        if type(item) is not str:
            raise wrong_type(field, "a list of names", item)
        if len(item) > NAME_CHARACTERS:
            raise too_long(field, NAME_CHARACTERS)
        name = item.strip()
        if name.lower() == ALL_SOURCES:
            return (ALL_SOURCES,)
        if name:
            names[name] = None
    if len(items) > _FEW_NAMES and sum(map(len, items)) + len(items) > SOURCES_CHARACTERS:
        raise too_long(field, SOURCES_CHARACTERS)
    return tuple(names)


def number(value: Any, field: str) -> int:
    """Parse `badge` or `vibrate` as Ruby's to_i does (contract §1.2), from 0 to 2,147,483,647."""
    if type(value) is int and 0 <= value <= NUMBER_MAX:  # the common case
        return value
    kind = type(value)
    if kind is int:
        found: int = value
    elif kind is str:
        if len(value) > WORD_CHARACTERS:
            raise too_long(field, WORD_CHARACTERS)
        match = _TO_I.match(value[:_NUMBER_TEXT_MAX])
        found = int(match[1].replace("_", "")) if match else 0
        if match and match.end() == _NUMBER_TEXT_MAX < len(value):
            found = NUMBER_MAX + 1  # more digits may follow; no number in range is so long
    elif kind is float and math.isfinite(value):
        found = int(value)
    else:
        raise wrong_type(field, "a number", value)
    if 0 <= found <= NUMBER_MAX:
        return found
    raise InvalidField(f"{field} must be from 0 to {NUMBER_MAX}", field=field)


def milliseconds(value: Any, field: str) -> int | None:
    """Parse `vibrate`: a number, or None if the text is empty."""
    return None if type(value) is str and not value else number(value, field)


def seconds(value: Any, field: str) -> int:
    """Parse `ttl_s`: whole seconds, strictly, since a wrong time to live would silently lose pings."""
    if type(value) is str:
        value = _whole(value, field)
    elif type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise wrong_type(field, "whole seconds", value)
    if 0 <= value <= TTL_MAX_S:
        return value
    raise InvalidField(f"{field} must be from 0 to {TTL_MAX_S} seconds", field=field)


def _whole(text: str, field: str) -> int:
    """Return the number in a text. One with too many digits is replaced by another that is out of range, too."""
    found = _DIGITS.fullmatch(text)
    if found is None:
        raise InvalidField(f"{field} must be whole seconds, as 3600", field=field)
    sign, digits = found.groups()
    number = int(digits) if len(digits) <= _DIGITS_MAX else TTL_MAX_S + 1
    return -number if sign else number


def instant_ms(value: Any, field: str) -> int:
    """Parse `deliver_at`: epoch milliseconds, 0 for every instant before 1970.

    A leap second counts as the second after it, since epoch time has none.
    """
    if type(value) is str:
        return _text_instant_ms(bounded(value, field, WORD_CHARACTERS), field)
    if type(value) is not int and not (type(value) is float and math.isfinite(value)):
        raise wrong_type(field, _INSTANT_EXPECTED, value)
    if value > EPOCH_S_MAX:
        raise _not_seconds(field)
    return math.floor(max(0, value) * 1000)


def _text_instant_ms(value: str, field: str) -> int:
    epoch = _EPOCH.fullmatch(value)
    if epoch is not None:
        sign, whole, fraction = epoch.groups()
        if sign:
            return 0
        if int(whole) > EPOCH_S_MAX:
            raise _not_seconds(field)
        return int(whole) * 1000 + _fraction_ms(fraction)
    found = _INSTANT.fullmatch(value)
    if found is None:
        raise InvalidField(f"{field} must be {_INSTANT_EXPECTED}", field=field)
    date, clock, second, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        minute = datetime.fromisoformat(f"{date}T{clock}").replace(tzinfo=zone)
        since = (minute - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise InvalidField(f"{field} must be {_INSTANT_EXPECTED}", field=field) from error
    if int(second) > _LEAP_SECOND:
        raise InvalidField(f"{field} must be {_INSTANT_EXPECTED}", field=field)
    return max(0, (since + int(second)) * 1000 + _fraction_ms(fraction))


def _fraction_ms(digits: str | None) -> int:
    return int((digits or "")[:3].ljust(3, "0"))


def _not_seconds(field: str) -> InvalidField:
    return InvalidField(f"{field} must be in seconds since 1970, not in milliseconds", field=field)


def text(value: Any, field: str) -> str | None:
    """Parse `sound` or `title`: a text; an empty one is None."""
    if type(value) is str:
        if len(value) > TEXTS[field]:
            raise too_long(field, TEXTS[field])
        return value or None
    raise wrong_type(field, "a text", value)


def message(value: Any, field: str) -> Any:
    """Parse `message`: any JSON that a queue and every provider's encoder can carry; an empty text is None."""
    if type(value) is str:
        if len(value) > MESSAGE_CHARACTERS:
            raise too_long(field, MESSAGE_CHARACTERS)
        return value or None
    return carried(value, field)


def flag(value: Any, field: str) -> bool:
    """Parse `async` or `wait`. RhoConnect treats every text as true; here words such as "false" are false."""
    if type(value) is str:
        return bounded(value, field, WORD_CHARACTERS).strip().lower() not in _FALSE_WORDS
    if isinstance(value, int | float):
        return bool(value)
    raise wrong_type(field, "true or false", value)


def priority(value: Any, field: str) -> str | None:
    """Parse `priority`."""
    word = bounded(value, field, WORD_CHARACTERS).lower() if type(value) is str else value
    if word == "":
        return None
    if type(word) is str and word in _PRIORITIES:
        return word
    raise InvalidField(f'{field} must be "high" or "normal"', field=field)


def collapse_id(value: Any, field: str) -> str | None:
    """Parse `collapse_id`. It becomes a header value, so it must be a valid one (RFC 9113 §8.2.1)."""
    if type(value) is not str:
        raise wrong_type(field, "a text", value)
    bounded(value, field, WORD_CHARACTERS)
    if _CONTROL.search(value) or value != value.strip():
        raise InvalidField(
            f"{field} must not contain control characters, or a space at its beginning or end", field=field
        )
    if len(value.encode("utf-8", "replace")) > COLLAPSE_ID_BYTES:
        raise InvalidField(f"{field} must be at most {COLLAPSE_ID_BYTES} bytes", field=field)
    return value or None


def carried(value: Any, field: str) -> Any:
    """Return any JSON unchanged if the queue (msgpack) and the encoders can carry it, else raise InvalidField."""
    level = [value]
    left = MESSAGE_CHARACTERS
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        left -= len(level)
        for item in level:
            kind = type(item)
            if kind is str:
                left -= len(item)
            elif kind is dict:
                below.extend(item.values())
                left -= sum(map(len, item))
            elif kind is list:
                below.extend(item)
            elif kind is int or kind is float:
                _carried_number(item, field)
        if left < len(below):
            raise too_long(field, MESSAGE_CHARACTERS)
        if not below:
            return value
        level = below
    raise _too_deep(field)


def _carried_number(value: float, field: str) -> None:
    if type(value) is int:
        if not INT64_MIN <= value <= UINT64_MAX:
            raise InvalidField(f"{field} holds an integer beyond 64 bits", field=field)
    elif not math.isfinite(value):
        raise InvalidField(f"{field} holds a number that is not finite", field=field)


def _too_deep(field: str) -> InvalidField:
    return InvalidField(f"{field} is nested deeper than {DEPTH_MAX} levels", field=field)
