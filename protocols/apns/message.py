"""APNs notifications: a ping as a notification (Apple, "Generating a remote notification").

Content of the ping, and the notification that is sent:

- a message or title: push type alert, priority 10 (5 if the ping's priority is normal); `aps` has alert, badge,
  sound and vibrate as given, and with sources content-available 1, so that the app syncs without a tap.
- a badge or sound without a message: the same, without an alert.
- sources alone, or with vibrate: push type background, priority 5; `aps` has content-available 1, and vibrate.
- vibrate alone: the same; the notification shows nothing and only wakes the app.
- nothing: no notification.

RhoConnect's keys keep the form that its apps read (contract §4): `aps.alert`, `aps.badge`, `aps.sound`,
`aps.vibrate` (a text) and `do_sync` (a list). iOS ignores custom keys in `aps`, so `vibrate` is also a key beside
it. Rhodes up to 3.x reads `aps.alert` as a text only: the setting `apns.alert: text` joins title and message. A
background notification may hold neither alert, badge nor sound, and priority 10 is an error there (providers A3).
With the setting `ping.include_id`, the ping's id is the key `ping_id` beside `aps`.
"""

import functools
import re
from typing import Any, Final, NamedTuple

import msgspec

from protocols.errors import InvalidField, InvalidToken, PayloadTooLarge
from protocols.headers import Header
from protocols.http2.client import never_indexed
from protocols.ping.content import alert_of, expires_ms, is_alert_object, merged
from protocols.ping.model import Ping

PAYLOAD_BYTES: Final = 4096
"""Longest payload (providers A3)."""
VOIP_PAYLOAD_BYTES: Final = 5120
AUTO: Final = "auto"
"""Value of `apns.alert`: a text, or Apple's object if there is a title."""
TEXT: Final = "text"
"""Value of `apns.alert`: always a text; title and message are joined."""
VOIP_SUFFIX: Final = ".voip"
"""A topic with this suffix accepts VoIP pushes only."""

TOKEN_BYTES: Final = 256  # Apple's tokens have no fixed length; the bound keeps a path a path
_TOPIC: Final = re.compile(r"[A-Za-z0-9.\-_]{1,255}")
"""A bundle id, with the suffix of a push type."""
_SHOWN: Final = frozenset({"alert", "badge", "sound"})
_AT_ONCE: Final = (b"apns-priority", b"10")
_SPARING: Final = (b"apns-priority", b"5")
_ALERT_PRIORITY: Final = {None: _AT_ONCE, "high": _AT_ONCE, "normal": _SPARING}
_ALERT: Final = (b"apns-push-type", b"alert")
_BACKGROUND: Final = (b"apns-push-type", b"background")
_VOIP: Final = (b"apns-push-type", b"voip")
_NOT_STORED: Final = (b"apns-expiration", b"0")
_encode: Final = msgspec.json.Encoder().encode


class ApnsTarget(NamedTuple):
    """Topic and settings of an app's notifications.

    Attributes:
        topic: the app's bundle id.
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
        alert: `AUTO` or `TEXT`.
        include_id: whether the payload has the ping's id as `ping_id` (setting `ping.include_id`).
    """

    topic: str
    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600
    alert: str = AUTO
    include_id: bool = False


class ApnsMessage(msgspec.Struct, eq=False, gc=False):
    """A notification, encoded once for all devices of an app.

    Attributes:
        headers: the regular headers, without authorization.
        background: whether nothing is shown; iOS passes only a few such notifications an hour to the app.
        expires_ms: epoch milliseconds at which it expires.
    """

    headers: list[Header]
    background: bool
    expires_ms: int
    _body: bytes

    def __repr__(self) -> str:
        return f"<APNs message, {'background' if self.background else 'alert'}, {len(self._body)} bytes>"

    def path(self, pin: str) -> bytes:
        """The `:path` for a device.

        Raises:
            InvalidToken: the push token is not hexadecimal, and could change the path.
        """
        try:
            size = len(bytes.fromhex(pin))
        except ValueError as error:
            raise InvalidToken("the device's push token must be hexadecimal for APNs") from error
        if not 1 <= size <= TOKEN_BYTES:
            raise InvalidToken(f"the device's push token must have 1 to {TOKEN_BYTES} bytes for APNs")
        if size * 2 != len(pin):  # spaces between bytes: RhoConnect accepted tokens as iOS printed them
            pin = "".join(pin.split())
        return b"/3/device/" + pin.encode("ascii")

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The payload, which is the same for every device."""
        return self._body


class _Aps(msgspec.Struct, omit_defaults=True, rename={"content_available": "content-available"}):
    """The keys of `aps` that Apple or RhoConnect's apps read."""

    alert: Any = None
    badge: int | None = None
    sound: str | None = None
    vibrate: str | None = None
    content_available: int = 0


class _Payload(msgspec.Struct, omit_defaults=True):
    """A payload without a sender's own additions. A type of fixed shape is constructed and encoded in C."""

    aps: _Aps
    do_sync: tuple[str, ...] = ()
    vibrate: str | None = None
    ping_id: str | None = None


def compose(ping: Ping, target: ApnsTarget, now_ms: int) -> ApnsMessage | None:
    """Compose a ping's notification for an app.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds; used only for pings that no queue has accepted.

    Returns:
        None if the ping shows nothing and syncs nothing.

    Raises:
        PayloadTooLarge: over 4,096 bytes (VoIP 5,120).
        InvalidField: the app's topic is invalid.
    """
    payload, shown = _payload(ping, target.alert)
    if not (shown or ping.sources or payload.vibrate or ping.apns):
        return None
    if target.include_id and ping.id:
        payload.ping_id = ping.id
    topic, voip = _topic(target.topic)
    background = not (voip or shown)
    if ping.apns:
        body, background = _with_additions(payload, ping.apns, voip)
    else:
        if background:
            payload.aps.content_available = 1
        body = _encode(payload)
    limit = VOIP_PAYLOAD_BYTES if voip else PAYLOAD_BYTES
    if len(body) > limit:
        raise PayloadTooLarge(f"the APNs payload has {len(body)} bytes; at most {limit} are allowed")
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    headers = [
        topic,
        _VOIP if voip else _BACKGROUND if background else _ALERT,
        _SPARING if background else _ALERT_PRIORITY[ping.priority],
        # 0 means one attempt without storage (providers A2), which is the meaning of a time to live of 0.
        _NOT_STORED if ping.ttl_s == 0 else (b"apns-expiration", b"%d" % (ends_ms // 1000)),
    ]
    if ping.collapse_id or ping.id:
        headers.append(_collapse_id(ping))
    return ApnsMessage(headers, background, ends_ms, body)


def _collapse_id(ping: Ping) -> Header:
    if ping.collapse_id:
        return b"apns-collapse-id", ping.collapse_id.encode()
    # The id of a ping to one user is sent once, so an entry in HPACK's table would be useless: 0.35 µs a push.
    own = ping.id.encode()
    return never_indexed(b"apns-collapse-id", own) if len(ping.users) == 1 else (b"apns-collapse-id", own)


@functools.lru_cache(maxsize=1024)
def _topic(topic: str) -> tuple[Header, bool]:
    """The topic header of an app, and whether its pushes are VoIP pushes. It is the same for all pings of an app.

    Raises:
        InvalidField: the topic is invalid.
    """
    if not _TOPIC.fullmatch(topic):
        raise InvalidField("the APNs topic must be a bundle id", field="apns.topic")
    return (b"apns-topic", topic.encode()), topic.endswith(VOIP_SUFFIX)


def _payload(ping: Ping, style: str) -> tuple[_Payload, bool]:
    """Build the payload, and decide whether the device shows or plays any part of it."""
    message, badge, sound = ping.message, ping.badge, ping.sound
    plain = type(message) is str and message and not ping.title  # the common case
    alert = message if plain else _alert(ping, style)
    shown = alert is not None or badge is not None or sound is not None
    vibrate = None if ping.vibrate is None else str(ping.vibrate)
    aps = _Aps(alert, badge, sound, vibrate, 1 if ping.sources else 0)
    return _Payload(aps, ping.sources, vibrate), shown


def _with_additions(payload: _Payload, additions: dict[str, Any], voip: bool) -> tuple[bytes, bool]:
    """Merge the sender's additions, which also decide whether anything is shown."""
    whole = merged(msgspec.to_builtins(payload), additions)
    aps = whole["aps"]
    background = not voip and _SHOWN.isdisjoint(aps)
    if background:
        aps["content-available"] = 1
    return _encode(whole), background


def _alert(ping: Ping, style: str) -> str | dict[str, Any] | None:
    """The value of `aps.alert`: a text, or Apple's object if there is a title or the caller sent such an object.

    With `TEXT` only an object without any text of its own (keys of localised texts) stays an object.
    """
    alert = alert_of(ping)
    if style == TEXT and alert is not None:
        return "\n".join(text for text in alert if text)
    if is_alert_object(ping.message):
        return {"title": ping.title, **ping.message} if ping.title else ping.message
    if alert is None:
        return None
    if alert.title is None:
        return alert.body
    return {"title": alert.title} if alert.body is None else {"title": alert.title, "body": alert.body}
