"""A data change as a writer reports it: `{"source": "Product", "user_id": "bob"}`, or a list of users.

With an `id`, a change that is reported twice (on two channels, on a channel and a stream, after a writer's own
retry) counts once.
"""

from typing import Any, Final, NamedTuple

import msgspec

from protocols.errors import InvalidField, MalformedBody, wrong_type
from protocols.json_syntax import find_fault

NAME_BYTES_MAX: Final = 1_024
"""Longest user, source and id in bytes: each becomes part of a Redis key, and no login is that long."""
USERS_MAX: Final = 10_000
"""Most users of one change: each costs Redis some 3 µs in one step, during which it does nothing else."""

_decode: Final = msgspec.json.Decoder(Any).decode


class Change(NamedTuple):
    """A change of a source's data for some users.

    Attributes:
        users: their logins in order, without duplicates; never empty.
        source: the source's name.
        id: the writer's id of this change; "": none.
    """

    users: tuple[str, ...]
    source: str
    id: str = ""


def parse(event: bytes) -> Change:
    """Parse an event.

    Unknown fields are ignored: a writer may include fields for other readers.

    Raises:
        MalformedBody: not a JSON object, or not UTF-8.
        InvalidField: `source` or `user_id` is missing or not a name, or `id` is neither text nor number.
    """
    try:
        found = _decode(event)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"an event must be a JSON object: {find_fault(event).text}") from error
    if not isinstance(found, dict):
        raise MalformedBody(wrong_type("an event", "a JSON object", found).message)
    source = _name(found.get("source"), "source")
    named = found.get("user_id")
    listed = named if isinstance(named, list) else [named]
    if len(listed) > USERS_MAX:
        raise InvalidField(
            f"user_id names more than {USERS_MAX} users: publish several changes", field="user_id"
        )
    users = tuple(dict.fromkeys(_name(user, "user_id") for user in listed))
    if not users:
        raise InvalidField("user_id names no user", field="user_id")
    return Change(users, source, _id(found.get("id")))


def _name(value: Any, field: str) -> str:
    if value is None:
        raise InvalidField(f"{field} is missing", field=field)
    if not isinstance(value, str):
        raise wrong_type(field, "a text", value)
    if not value:
        raise InvalidField(f"{field} is empty", field=field)
    if len(value) > NAME_BYTES_MAX or len(value.encode()) > NAME_BYTES_MAX:
        raise InvalidField(f"{field} has more than {NAME_BYTES_MAX} bytes", field=field)
    return value


def _id(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _name(value, "id")
