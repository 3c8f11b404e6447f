"""Schema of FCM HTTP v1 messages: fields, their types, and the violations in a given message.

Source: Google, REST reference of `projects.messages` and `projects.messages.send` (REF). Field names are accepted in
snake_case and camelCase, as in proto3's JSON mapping.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

TTL_MAX_S: Final = 2_419_200
"""Four weeks (REF, AndroidConfig.ttl)."""

PAYLOAD_MAX: Final = 4096
"""Longest message to a device in bytes ("About FCM messages")."""

TOPIC_PAYLOAD_MAX: Final = 2048
"""Longest message to a topic or condition in bytes."""

TARGETS: Final = ("token", "fid", "topic", "condition")
"""Exactly one of these fields must be present (REF, Message.target)."""


class Violation(NamedTuple):
    """A violation of the schema.

    Attributes:
        field: path of the field, such as `message.android.ttl`.
        description: the problem, in Google's style.
        parsing: whether it was found while the JSON was parsed: Google then includes no FcmError.
    """

    field: str
    description: str
    parsing: bool = True


Check = Callable[[Any], str]
"""Returns the problem of a value, or ""."""

Schema = Mapping[str, "Check | Schema"]


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else "must be a string"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be a boolean"


def _whole(value: Any) -> str:
    if isinstance(value, str):
        return "" if re.fullmatch(r"-?\d{1,10}", value) else "must be an int32"
    whole = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
    return "" if whole else "must be an int32"


def _number(value: Any) -> str:
    return "" if isinstance(value, int | float) and not isinstance(value, bool) else "must be a number"


def _texts(value: Any) -> str:
    return (
        ""
        if isinstance(value, list) and all(isinstance(item, str) for item in value)
        else "must list strings"
    )


def _text_map(value: Any) -> str:
    whole = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return "" if whole else "must be a map of strings to strings"


def _struct(value: Any) -> str:
    return "" if isinstance(value, dict) else "must be an object"


def _duration(value: Any) -> str:
    return (
        ""
        if isinstance(value, str) and re.fullmatch(r"\d{1,12}(\.\d{1,9})?s", value)
        else "Illegal duration format"
    )


def _durations(value: Any) -> str:
    return "" if isinstance(value, list) and not any(map(_duration, value)) else "must list durations"


def _moment(value: Any) -> str:
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)"
    return "" if isinstance(value, str) and re.fullmatch(pattern, value) else "must be an RFC 3339 time"


def _one_of(*names: str) -> Check:
    known = frozenset(names)
    # Google's own examples write "high": enum names are accepted in any case
    return lambda value: (
        "" if isinstance(value, str) and value.upper() in known else f"must be one of {sorted(known)}"
    )


_ANDROID_FCM_OPTIONS: Final[Schema] = {"analytics_label": _text}

_NOTIFICATION: Final[Schema] = {"title": _text, "body": _text, "image": _text}

_ANDROID_NOTIFICATION: Final[Schema] = {
    **dict.fromkeys(("title", "body", "icon", "color", "sound", "tag", "click_action", "channel_id"), _text),
    **dict.fromkeys(("body_loc_key", "title_loc_key", "ticker", "image", "id"), _text),
    **dict.fromkeys(("body_loc_args", "title_loc_args"), _texts),
    **dict.fromkeys(("sticky", "local_only"), _flag),
    **dict.fromkeys(("default_sound", "default_vibrate_timings", "default_light_settings"), _flag),
    "event_time": _moment,
    "notification_priority": _one_of(
        "PRIORITY_UNSPECIFIED",
        "PRIORITY_MIN",
        "PRIORITY_LOW",
        "PRIORITY_DEFAULT",
        "PRIORITY_HIGH",
        "PRIORITY_MAX",
    ),
    "vibrate_timings": _durations,
    "visibility": _one_of("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"),
    "notification_count": _whole,
    "light_settings": {
        "color": {"red": _number, "green": _number, "blue": _number, "alpha": _number},
        "light_on_duration": _duration,
        "light_off_duration": _duration,
    },
    "proxy": _one_of("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"),
}

_MESSAGE: Final[Schema] = {
    **dict.fromkeys(("name", *TARGETS), _text),
    "data": _text_map,
    "notification": _NOTIFICATION,
    "android": {
        "collapse_key": _text,
        "priority": _one_of("NORMAL", "HIGH"),
        "ttl": _duration,
        "restricted_package_name": _text,
        "data": _text_map,
        "notification": _ANDROID_NOTIFICATION,
        "fcm_options": _ANDROID_FCM_OPTIONS,
        "direct_boot_ok": _flag,
        "bandwidth_constrained_ok": _flag,
        "restricted_satellite_ok": _flag,
    },
    "webpush": {
        "headers": _text_map,
        "data": _text_map,
        "notification": _struct,
        "fcm_options": {"link": _text, "analytics_label": _text},
    },
    "apns": {
        "headers": _text_map,
        "payload": _struct,
        "live_activity_token": _text,
        "fcm_options": {"analytics_label": _text, "image": _text},
    },
    "fcm_options": {"analytics_label": _text},
}

REQUEST: Final[Schema] = {"validate_only": _flag, "message": _MESSAGE}
"""The body of `messages:send`."""

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*")


def plain(value: Any, schema: Schema = REQUEST) -> Any:
    """Return the value with the schema's field names in snake_case; free-form maps are unchanged."""
    if not isinstance(value, dict):
        return value
    plainer: dict[str, Any] = {}
    for key, item in value.items():
        name = _snake(key)
        rule = schema.get(name)
        plainer[name if rule is not None else key] = plain(item, rule) if isinstance(rule, Mapping) else item
    return plainer


def violations(request: Any) -> list[Violation]:
    """Violations in a body in snake_case (see `plain`): types first, and other rules only if the types are correct."""
    if not isinstance(request, dict):
        return [Violation("", "Invalid JSON payload received. Root element must be a message.")]
    found = list(_typed(request, REQUEST, ""))
    return found or list(_meant(request.get("message")))


def _typed(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Violation]:
    for key, item in value.items():
        field_path = f"{path}.{key}" if path else key
        rule = schema.get(key)
        if item is None:
            continue  # proto3 JSON: null means that the field is not set
        if rule is None:
            at = path or "the root"
            yield Violation(
                path, f"Invalid JSON payload received. Unknown name \"{key}\" at '{at}': Cannot find field."
            )
        elif callable(rule):
            if problem := rule(item):
                yield Violation(field_path, f"Invalid value at '{field_path}': {problem}")
        elif isinstance(item, dict):
            yield from _typed(item, rule, field_path)
        else:
            yield Violation(field_path, f"Invalid value at '{field_path}': must be an object")


def _meant(message: Any) -> Iterator[Violation]:
    if not message:
        yield Violation("message", "Request must have a message.", parsing=False)
        return
    targets = [name for name in TARGETS if message.get(name)]
    if len(targets) != 1:
        wanted = "Exactly one of fid, token, topic or condition is required"
        yield Violation("message", f"{wanted}, found {len(targets)}.", parsing=False)
    android = message.get("android") or {}
    for field_path, data in (
        ("message.data", message.get("data")),
        ("message.android.data", android.get("data")),
    ):
        for key in data or ():
            if _RESERVED.fullmatch(key):
                yield Violation(f"{field_path}.{key}", f"Invalid data payload key: {key}", parsing=False)
    if float((android.get("ttl") or "0s")[:-1]) > TTL_MAX_S:
        yield Violation("message.android.ttl", f"TTL must be at most {TTL_MAX_S} seconds.", parsing=False)
    limit = TOPIC_PAYLOAD_MAX if targets and targets[0] in ("topic", "condition") else PAYLOAD_MAX
    if (size := payload_size(message)) > limit:
        yield Violation("message", f"Message too big: {size} bytes, at most {limit}.", parsing=False)


def payload_size(message: Mapping[str, Any]) -> int:
    """Bytes that count against the limit: the data and the notification, common and Android's, as compact JSON.

    Google does not document its count; this one includes keys, values and punctuation.
    """
    android = message.get("android") or {}
    parts = (
        message.get("data"),
        message.get("notification"),
        android.get("data"),
        android.get("notification"),
    )
    return sum(len(orjson.dumps(part)) for part in parts if part)


def _snake(name: str) -> str:
    return _HUMP.sub(lambda hump: "_" + hump.group().lower(), name)
