"""Raw additions to a provider's message: the `apns` and `fcm` parameters of a ping, and those of other providers.

They are merged into the message that is composed. They may add and replace content; they may not choose the recipient
or the sender, which the devices and the credentials determine.

A provider of another package brings the rule of its parameter (`AdditionRule`). The parser of a ping gets these rules
as an argument, and the ping holds their results in `Ping.additions`.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec

from protocols.errors import InvalidField, wrong_type
from protocols.ping import fields
from protocols.ping.limits import MESSAGE_CHARACTERS, bounded

AdditionRule: TypeAlias = Callable[[Any, str], dict[str, Any] | None]
"""Parses the value of a parameter, decoded from JSON or a text of a form, with the parameter's name. Returns the
additions, in JSON's types; None: there are none. Raises InvalidField."""
AdditionRules: TypeAlias = Mapping[str, AdditionRule]
"""The rules by the name of the parameter, which is that of the provider."""
NO_RULES: Final[AdditionRules] = MappingProxyType({})

# Names are compared in lower case without "-" and "_", so that apnsTopic, apns-topic and apns_topic are equal. APNs:
# `apns` is the payload. Headers have parameters of their own (priority, ttl_s, collapse_id); a topic, token or
# authorization there could only mean the header or the path.
_APNS_REFUSED: Final = frozenset(
    {"topic", "apnstopic", "token", "devicetoken", "target", "authorization", "headers"}
)
_HEADERS_REFUSED: Final = frozenset({"authorization", "apnstopic", "topic", "token"})
# FCM: the targets of a message (REST reference of `projects.messages`), the fields beside it, and the package, which
# is a part of the target.
_FCM_REFUSED: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"token", "topic", "condition", "fid", "target", "name", "authorization", "headers"})
    | {"message", "validateonly"},
    "android": frozenset({"restrictedpackagename"}),
    "apns.headers": _HEADERS_REFUSED,
    "webpush.headers": _HEADERS_REFUSED,
}
_FCM_OBJECTS: Final = (
    "notification",
    "data",
    "android",
    "android.notification",
    "android.data",
    "apns",
    "apns.headers",
    "apns.payload",
    "apns.payload.aps",
    "webpush",
    "webpush.headers",
    "webpush.data",
)
_FCM_DATA: Final = ("data", "android.data", "webpush.data")
# Data keys that FCM reserves (the same reference, `data`).
_FCM_DATA_RESERVED: Final = re.compile(r"(from|message_type)\Z|google|gcm")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])[A-Z]")
# Below these keys, names are the app's own or Apple's, and are not converted.
_FCM_OPAQUE: Final = frozenset({"data", "payload", "headers"})


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _object(value: Any, field: str) -> dict[str, Any]:
    """Parse an object, or its JSON as text, as a form must send it."""
    if type(value) is str:
        bounded(value, field, MESSAGE_CHARACTERS)
        try:
            value = msgspec.json.decode(value)
        except (ValueError, RecursionError) as error:
            raise InvalidField(f"{field} must be an object, or the JSON of one", field=field) from error
    if type(value) is not dict:
        raise wrong_type(field, "an object", value)
    checked: dict[str, Any] = fields.carried(value, field)
    return checked


def _refuse(holder: Any, path: str, names: frozenset[str]) -> None:
    """Raise InvalidField with the path of the first key that additions may not set."""
    for key in holder if type(holder) is dict else ():
        if _folded(key) in names:
            field = f"{path}.{key}"
            raise InvalidField(f"{field} cannot be set by an addition", field=field)


def plain(value: Any, field: str) -> dict[str, Any] | None:
    """Parse additions without a rule of their own: any object.

    Raises:
        InvalidField: the value is not an object, is too long, or is nested too deeply.
    """
    return None if value == "" else _object(value, field) or None


def apns(value: Any, field: str) -> dict[str, Any] | None:
    """Parse additions to the APNs payload: keys of the app's own, and `aps`, which must be an object.

    Raises:
        InvalidField: with the path of the key that cannot be set, such as `apns.topic`.
    """
    if value == "":
        return None
    additions = _object(value, field)
    _refuse(additions, field, _APNS_REFUSED)
    aps = additions.get("aps", {})
    if type(aps) is not dict:
        raise wrong_type(f"{field}.aps", "an object", aps)
    if None in aps.values():  # an alert that is null would count as an alert
        additions = {**additions, "aps": {key: item for key, item in aps.items() if item is not None}}
    return additions or None


def fcm(value: Any, field: str) -> dict[str, Any] | None:
    """Parse additions to the FCM message, in snake_case or camelCase (FCM accepts both); the result is in
    snake_case.

    Raises:
        InvalidField: with the path of the key that cannot be set, such as `fcm.token`, or of a data value that is
            not a text.
    """
    if value == "":
        return None
    # A null means that the field is not set, as in all of FCM's JSON.
    message: dict[str, Any] = _snake(_object(value, field))
    for path in _FCM_OBJECTS:
        found = _at(message, path)
        if found is not None and type(found) is not dict:
            raise wrong_type(f"{field}.{path}", "an object", found)
    for path, names in _FCM_REFUSED.items():
        _refuse(_at(message, path), f"{field}.{path}".rstrip("."), names)
    for path in _FCM_DATA:
        _check_data(f"{field}.{path}", _at(message, path) or {})
    return message or None


def _at(message: dict[str, Any], path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    found: Any = message
    for key in path.split(".") if path else ():
        found = found.get(key) if type(found) is dict else None
    return found


def _check_data(path: str, data: dict[str, Any]) -> None:
    """Check a data map: texts only, and none of FCM's reserved names."""
    for key, value in data.items():
        if type(value) is not str:
            raise wrong_type(f"{path}.{key}", "a text", value)
        if _FCM_DATA_RESERVED.match(key):
            raise InvalidField(f"{path}.{key} is a name that FCM reserves", field=f"{path}.{key}")


def _snake(value: Any) -> Any:
    """Convert camelCase keys to snake_case, so that an addition and the gateway's own field are one key; drop nulls."""
    if type(value) is list:
        return [_snake(item) for item in value]
    if type(value) is not dict:
        return value
    named = ((_CAMEL.sub(r"_\g<0>", key).lower() if _CAMEL.search(key) else key, value[key]) for key in value)
    return {name: item if name in _FCM_OPAQUE else _snake(item) for name, item in named if item is not None}


BUILT_IN: Final[AdditionRules] = {"apns": apns, "fcm": fcm}
"""The rules of the parameters that have fields of their own in `Ping`, since they are older than `Ping.additions`."""
