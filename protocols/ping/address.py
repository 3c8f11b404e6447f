"""Parsing of the parameter `to` of a ping.

`to` is an object, or its JSON as text for forms; a form may also use brackets (`to[devices][]=...`). Its keys:

- all_users: true or false; with true there are neither users nor lists.
- devices: a list of client ids.
- tokens: a list of objects with `provider`, `token` and, if the provider has settings per app, `app`.
- apps, providers: lists with at least one name: only devices of these apps and providers.
- except_users: a list of logins.

Every other key is refused, since `to` decides who gets the ping. null is a missing key. A list has at most `LIST_MAX`
items, so that all recipients are planned together and are stored with the ping.
"""

from typing import Any, Final

import msgspec

from protocols.errors import InvalidField, wrong_type
from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.limits import MESSAGE_CHARACTERS, NAME_CHARACTERS, bounded, too_long
from protocols.push_tokens import APNS, usual_spelling

LIST_MAX: Final = 1_000
"""Most items of each list."""
TOKEN_CHARACTERS: Final = 4_096
"""Longest token: FCM's (`protocols.fcm.message`); each provider has a rule of its own."""
_WORDS: Final = {"true": True, "false": False}
_KEYS: Final = Addressees.__struct_fields__
_TOKEN_KEYS: Final = RawToken.__struct_fields__
_SHOWN: Final = 64
"""Most characters of an unknown key in an error."""


def addressees(value: Any, field: str) -> Addressees:
    """Parse `to`.

    Raises:
        InvalidField: with the path of the wrong key or item, such as `to.devices[2]`.
    """
    named = _object(_decoded(value, field), field, _KEYS, "an object, or the JSON of one")
    found = Addressees(
        _flag(named.get("all_users"), f"{field}.all_users"),
        _names(named.get("devices"), f"{field}.devices"),
        _tokens(named.get("tokens"), f"{field}.tokens"),
        _narrowing(named.get("apps"), f"{field}.apps"),
        _narrowing(named.get("providers"), f"{field}.providers"),
        _names(named.get("except_users"), f"{field}.except_users"),
    )
    if found.all_users and found.listed:
        raise InvalidField(
            f"{field}.all_users cannot be combined with {field}.devices or {field}.tokens",
            field=f"{field}.all_users",
        )
    return found


def _decoded(value: Any, field: str) -> Any:
    if type(value) is not str:
        return value
    bounded(value, field, MESSAGE_CHARACTERS)
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError) as error:
        raise InvalidField(f"{field} must be an object, or the JSON of one", field=field) from error


def _object(value: Any, path: str, keys: tuple[str, ...], expected: str) -> dict[str, Any]:
    """Parse an object whose keys are all in `keys`."""
    if type(value) is not dict:
        raise wrong_type(path, expected, value)
    for key in value:
        if key not in keys:
            wrong = f"{path}.{key[:_SHOWN]}"
            raise InvalidField(f"{wrong} is unknown; {path} has the keys {', '.join(keys)}", field=wrong)
    return value


def _flag(value: Any, path: str) -> bool:
    """Parse a flag strictly: of texts, only "true" and "false" are accepted, as a form sends them."""
    if value is None:
        return False
    found = _WORDS.get(value, value) if type(value) is str else value
    if type(found) is not bool:
        raise wrong_type(path, "true or false", value)
    return found


def _list(value: Any, path: str, expected: str) -> list[Any]:
    if value is None:
        return []
    if type(value) is not list:
        raise wrong_type(path, expected, value)
    if len(value) > LIST_MAX:
        raise too_long(path, LIST_MAX, "items")
    return value


def _names(value: Any, path: str) -> tuple[str, ...]:
    """Parse a list of names: in order, without duplicates."""
    items = _list(value, path, "a list of texts")
    return tuple(dict.fromkeys(_name(item, f"{path}[{index}]") for index, item in enumerate(items)))


def _narrowing(value: Any, path: str) -> tuple[str, ...]:
    """Parse the names to which the recipients are narrowed. An empty list is refused: it could mean any name or
    none."""
    found = _names(value, path)
    if value is not None and not found:
        raise InvalidField(f"{path} must have at least one name", field=path)
    return found


def _name(value: Any, path: str, most: int = NAME_CHARACTERS) -> str:
    if type(value) is not str:
        raise wrong_type(path, "a text", value)
    if not value:
        raise InvalidField(f"{path} must not be empty", field=path)
    return bounded(value, path, most)


def _tokens(value: Any, path: str) -> tuple[RawToken, ...]:
    """Parse the raw tokens: in order, without duplicates.

    An APNs token gets its usual spelling, so that its id in receipts, and its badge, do not depend on the caller's.
    """
    items = _list(value, path, "a list of objects")
    found: dict[RawToken, None] = {}
    for index, item in enumerate(items):
        at = f"{path}[{index}]"
        named = _object(item, at, _TOKEN_KEYS, "an object with provider, token and app")
        app, provider = named.get("app"), _name(named.get("provider"), f"{at}.provider")
        text = _name(named.get("token"), f"{at}.token", TOKEN_CHARACTERS)
        if provider == APNS:
            text = _name(usual_spelling(text), f"{at}.token")
        token = RawToken(
            provider,
            text,
            "" if app is None or app == "" else _name(app, f"{at}.app"),
        )
        found[token] = None
    return tuple(found)
