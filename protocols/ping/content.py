"""Content of a ping in provider-independent form, from which every provider's message is composed."""

from typing import Any, Final, NamedTuple

import orjson

from protocols.ping.model import Ping

# Keys that make an object an alert in Apple's shape ("Generating a remote notification"); other objects are the
# sender's own.
_ALERT_KEYS: Final = frozenset({"title", "subtitle", "body", "loc-key", "title-loc-key", "subtitle-loc-key"})


class Alert(NamedTuple):
    """The text that a device shows. At least one of the two fields is set.

    Attributes:
        title: None if the ping has none.
        body: None if the ping has only a title.
    """

    title: str | None
    body: str | None


def has_message(ping: Ping) -> bool:
    """Whether there is a message: an empty text, list or object is none, but 0 and false are."""
    message = ping.message
    if message is None or type(message) is str:
        return bool(message)
    return message not in ([], {})


def is_alert_object(message: Any) -> bool:
    """Whether a message is an object in the shape of Apple's alerts: {"title": ..., "body": ...}."""
    return type(message) is dict and not _ALERT_KEYS.isdisjoint(message)


def text_of(message: Any) -> str:
    """A message as text: a text unchanged, any other JSON as its JSON (`true`, `5`, `{"a":1}`)."""
    return message if type(message) is str else orjson.dumps(message).decode()


def alert_of(ping: Ping) -> Alert | None:
    """The text that a ping shows, or None if it shows none.

    An object in Apple's shape may have neither title nor body, only keys of the app's own texts: the result is None
    too.
    """
    title, message = ping.title, ping.message
    if type(message) is str and message:
        return Alert(title, message)
    if not has_message(ping):
        return Alert(title, None) if title else None
    if not is_alert_object(message):
        return Alert(title, text_of(message))
    own_title, body = message.get("title", title), message.get("body", message.get("subtitle"))
    if own_title is None and body is None:
        return None
    return Alert(*(None if text is None else text_of(text) for text in (own_title, body)))


def shows(ping: Ping) -> bool:
    """Whether the ping has content for the user: a message, a title, a badge or a sound."""
    return bool(ping.badge is not None or ping.sound is not None or ping.title or has_message(ping))


def expires_ms(ping: Ping, ttl_s: int, sync_ttl_s: int, now_ms: int) -> int:
    """When a ping expires, in epoch milliseconds; times to live count from its acceptance.

    Args:
        ping: the ping; its own time to live takes precedence.
        ttl_s: for pings that show something (setting `ping.ttl_s`).
        sync_ttl_s: for the others (setting `ping.sync_ttl_s`).
        now_ms: used if no queue has accepted the ping.
    """
    life_s = ping.ttl_s
    if life_s is None:
        life_s = ttl_s if shows(ping) else sync_ttl_s
    return (ping.accepted_ms or now_ms) + life_s * 1000


def merged(base: dict[str, Any], additions: dict[str, Any] | None) -> dict[str, Any]:
    """Merge additions into a message, object by object; if both have a value, the addition's is used.

    Neither argument is changed, and no object of the additions is a part of the result.
    """
    if not additions:
        return base
    result = dict(base)
    for key, value in additions.items():
        if isinstance(value, dict):
            mine = result.get(key)
            result[key] = merged(mine if isinstance(mine, dict) else {}, value)
        else:
            result[key] = value
    return result
