"""FCM messages: a ping as an FCM HTTP v1 message (Google, REST reference of `projects.messages`).

Content of the ping, and the message that is sent:

- a message or title: data (do_sync, alert, title, badge, vibrate, sound) and a notification with title and body, for
  Android with sound, vibration, count and tag; priority high. With style "data" there is no notification block.
- an object with Apple's keys of localised texts (`loc-key` ...): the same; Android looks the keys up among the app's
  string resources, iOS among its own.
- a badge or sound without a message: data only.
- sources alone, or with vibrate: the same, with a collapse key made of the sources, since one such message is enough
  for an offline device.
- vibrate alone: data only.
- nothing: no message.

The data are RhoConnect's (contract §4): `do_sync` is names joined by commas, "" for none, `vibrate` a text. They are
at the message's top level, where iOS apps that registered with FCM get them too; those also get an `apns` block.
`phone_id` is the device's own, if RhoConnect has one; `ping_id` is the ping's id, with the setting `ping.include_id`.
A priority of the ping's own always applies. The setting `fcm.sync_priority` applies to data without a notification:
RhoConnect sent all with high priority, and Android 8 and later start a Rhodes app in the background for no other. FCM
may lower the priority of apps that use high priority and show nothing (Google, "Set and manage Android message
priority").
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
import orjson

from protocols.errors import InvalidToken, PayloadTooLarge
from protocols.fcm.registration import is_fid
from protocols.headers import Header
from protocols.ping.content import (
    Alert,
    alert_of,
    expires_ms,
    has_message,
    is_alert_object,
    merged,
    shows,
    text_of,
)
from protocols.ping.model import Ping

PAYLOAD_BYTES: Final = 4096
"""Longest payload ("About FCM messages")."""
COLLAPSE_KEY_BYTES: Final = 64
NOTIFICATION: Final = "notification"
"""Value of `fcm.style`: FCM shows the message."""
DATA: Final = "data"
"""Value of `fcm.style`: the app receives the message and shows it itself."""
HIGH: Final = "high"
"""Value of `fcm.sync_priority`."""
_NORMAL: Final = "normal"
_APNS_SPARING: Final = "5"

PHONE_ID_BYTES: Final = 256  # a longer one, or one that would exceed the limit of the payload, is left out
TOKEN_CHARACTERS: Final = 4096  # real ones have some 160; Google names no limit
_LENGTH: Final = f"the device's push token must have 1 to {TOKEN_CHARACTERS} characters for FCM"
_SURROGATE: Final = "the device's push token holds an unpaired surrogate"
_TOKEN_HEAD: Final = b'{"message":{"token":'
_HEADERS: Final[list[Header]] = [(b"content-type", b"application/json")]
_FID_HEAD: Final = b'{"message":{"fid":'
_DATA_HEAD: Final = b',"data":{'
_LOCALIZED: Final = {
    # Apple's key ("Generating a remote notification") -> Android's (REST reference, AndroidNotification)
    "subtitle-loc-key": "body_loc_key",
    "subtitle-loc-args": "body_loc_args",
    "loc-key": "body_loc_key",
    "loc-args": "body_loc_args",
    "title-loc-key": "title_loc_key",
    "title-loc-args": "title_loc_args",
}
"""The keys of a body come after the subtitle's: Android has no subtitle, and shows it if there is no body."""


class FcmTarget(NamedTuple):
    """Project and settings of an app's messages.

    Attributes:
        project_id: the Firebase project.
        package_name: the Android package that may receive them; "" for any.
        style: "notification" or "data", see `NOTIFICATION` and `DATA`.
        sync_priority: "high" or "normal", for messages without a notification.
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
        include_id: whether the data has the ping's id as `ping_id` (setting `ping.include_id`).
    """

    project_id: str
    package_name: str = ""
    style: str = NOTIFICATION
    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600
    sync_priority: str = HIGH
    include_id: bool = False


class FcmMessage(msgspec.Struct, eq=False, gc=False):
    """A message, encoded once for all devices of an app; only token and phone id are inserted for each.

    Attributes:
        headers: the regular headers, without authorization.
        background: whether there is no notification block.
        expires_ms: epoch milliseconds at which it expires.
    """

    headers: list[Header]
    background: bool
    expires_ms: int
    _path: bytes
    _tail: bytes
    _takes_phone_id: bool

    def __repr__(self) -> str:
        return f"<FCM message, {'data' if self.background else 'notification'}, {len(self._tail)} bytes>"

    def path(self, pin: str) -> bytes:
        """The `:path`, which is the same for every device.

        Raises:
            InvalidToken: as `body`, so that no lane gets a delivery whose body cannot be encoded.
        """
        _check_token(pin)
        return self._path

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The body for a device.

        Args:
            pin: the id of the device's installation, or its token; see `protocols.fcm.registration`.
            phone_id: included in the data, as RhoConnect does (contract §4); "": the device has none.

        Raises:
            InvalidToken: the push token is empty, too long, or not a text that JSON can carry.
        """
        try:
            token = orjson.dumps(pin)
        except TypeError as error:
            raise InvalidToken(_SURROGATE) from error
        if not 1 <= len(pin) <= TOKEN_CHARACTERS:
            raise InvalidToken(_LENGTH)
        head = _FID_HEAD if is_fid(pin) else _TOKEN_HEAD
        if phone_id and self._takes_phone_id:
            return b"%b%b%b%b" % (head, token, _data_with(phone_id), self._tail[len(_DATA_HEAD) :])
        return b"%b%b%b" % (head, token, self._tail)


def _check_token(pin: str) -> None:
    if not 1 <= len(pin) <= TOKEN_CHARACTERS:
        raise InvalidToken(_LENGTH)
    if not pin.isascii():
        try:
            pin.encode()
        except UnicodeEncodeError as error:
            raise InvalidToken(_SURROGATE) from error


def compose(ping: Ping, target: FcmTarget, now_ms: int) -> FcmMessage | None:
    """Compose a ping's message for an app.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds: FCM's time to live is the ping's remaining time.

    Returns:
        None if the ping shows nothing and syncs nothing.

    Raises:
        PayloadTooLarge: data and notification have over 4,096 bytes together.
    """
    if not (ping.sources or ping.vibrate is not None or ping.fcm or shows(ping)):
        return None
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    alert = alert_of(ping)
    localized = _localized(ping.message)
    message: dict[str, Any] = {"data": _data(ping, alert)}  # first: `FcmMessage.body` adds to it
    if target.include_id and ping.id:
        message["data"]["ping_id"] = ping.id
    if alert and target.style == NOTIFICATION:
        message["notification"] = _notification(alert)
    own = ping.fcm is not None and "notification" in ping.fcm
    notified = own or (target.style == NOTIFICATION and (alert is not None or bool(localized)))
    urgent = notified or alert is not None or bool(localized)
    message["android"] = _android(ping, target, urgent, max(0, ends_ms - now_ms))
    if notified:
        message["android"]["notification"] = _android_notification(ping) | localized
    message["apns"] = _apns(ping, notified, ends_ms)
    if ping.fcm:
        message = merged(message, ping.fcm)
    # The token is inserted between this constant head and tail.
    tail = b"," + orjson.dumps(message)[1:] + b"}"
    if len(tail) > PAYLOAD_BYTES:
        _check_size(message)
    fits = len(tail) <= PAYLOAD_BYTES - PHONE_ID_BYTES
    takes_phone_id = fits and tail.startswith(_DATA_HEAD) and "phone_id" not in message["data"]
    return FcmMessage(_HEADERS, not notified, ends_ms, _path(target.project_id), tail, takes_phone_id)


@lru_cache(maxsize=1024)
def _data_with(phone_id: str) -> bytes:
    """The beginning of the data with a device's phone id; without it if it is too long or JSON cannot carry it."""
    try:
        text = orjson.dumps(phone_id)
    except TypeError:
        return _DATA_HEAD
    return b'%b"phone_id":%b,' % (_DATA_HEAD, text) if len(text) <= PHONE_ID_BYTES else _DATA_HEAD


@lru_cache(maxsize=1024)
def _path(project_id: str) -> bytes:
    return f"/v1/projects/{quote(project_id, safe=':')}/messages:send".encode("ascii")


def _notification(alert: Alert) -> dict[str, Any]:
    if alert.title is None:
        return {"body": alert.body}
    return {"title": alert.title} if alert.body is None else {"title": alert.title, "body": alert.body}


def _localized(message: Any) -> dict[str, Any]:
    """Android's keys for the localised texts of an alert in Apple's shape; {}: it has none."""
    if not is_alert_object(message):
        return {}
    found: dict[str, Any] = {}
    for theirs, ours in _LOCALIZED.items():
        value = message.get(theirs)
        if theirs.endswith("args") and isinstance(value, list):
            found[ours] = [text_of(arg) for arg in value]
        elif theirs.endswith("key") and isinstance(value, str):
            found[ours] = value
    return found


def _data(ping: Ping, alert: Alert | None) -> dict[str, str]:
    """RhoConnect's data, all of them texts. A message without a text of its own is passed as JSON."""
    data = {"do_sync": ",".join(ping.sources)}
    if alert and alert.body is not None:
        data["alert"] = alert.body
    elif has_message(ping):
        data["alert"] = text_of(ping.message)
    if alert and alert.title is not None:
        data["title"] = alert.title
    if ping.badge is not None:
        data["badge"] = str(ping.badge)
    if ping.vibrate is not None:
        data["vibrate"] = str(ping.vibrate)
    if ping.sound is not None:
        data["sound"] = ping.sound
    return data


def _android(ping: Ping, target: FcmTarget, urgent: bool, left_ms: int) -> dict[str, Any]:
    android: dict[str, Any] = {
        "priority": ping.priority or (HIGH if urgent else target.sync_priority),
        "ttl": f"{-(-left_ms // 1000)}s",  # rounded up: a time to live of 0 would mean now or never
    }
    if target.package_name:
        android["restricted_package_name"] = target.package_name
    collapse_key = ping.collapse_id
    if collapse_key is None and ping.sources and not shows(ping):
        collapse_key = _sync_key(ping.sources)
    if collapse_key:
        android["collapse_key"] = collapse_key
    return android


def _android_notification(ping: Ping) -> dict[str, Any]:
    """Android's part of the notification. A repetition of a ping replaces it, by the same tag."""
    notification: dict[str, Any] = {}
    if ping.collapse_id or ping.id:
        notification["tag"] = ping.collapse_id or ping.id
    if ping.sound is not None:
        notification["sound"] = ping.sound
    if ping.vibrate:
        # Pairs of wait and run (REST reference, vibrate_timings).
        notification["vibrate_timings"] = ["0s", f"{ping.vibrate / 1000:.3f}".rstrip("0").rstrip(".") + "s"]
    if ping.badge is not None:
        notification["notification_count"] = ping.badge
    return notification


def _sync_key(sources: Sequence[str]) -> str:
    """Collapse key of the sync of these sources: of several syncs that wait for an offline device, one is enough.

    FCM stores four keys a device ("Collapsible and non-collapsible messages"). A key without the sources' names
    would collapse syncs of different sources.
    """
    key = "sync:" + ",".join(sources)
    if len(key.encode()) <= COLLAPSE_KEY_BYTES:
        return key
    return "sync:" + hashlib.sha256(key.encode()).hexdigest()[:32]


def _apns(ping: Ping, notified: bool, ends_ms: int) -> dict[str, Any]:
    """The block for iOS devices that registered with FCM, by the rules of `protocols.apns.message`."""
    aps: dict[str, Any] = {}
    if is_alert_object(ping.message):  # FCM's own notification has title and body only
        aps["alert"] = {"title": ping.title, **ping.message} if ping.title else ping.message
    if ping.badge is not None:
        aps["badge"] = ping.badge
    if ping.sound is not None:
        aps["sound"] = ping.sound
    background = not (notified or aps)
    headers = {"apns-expiration": "0" if ping.ttl_s == 0 else str(ends_ms // 1000)}
    collapse_id = ping.collapse_id or ping.id
    if collapse_id:
        headers["apns-collapse-id"] = collapse_id
    if background:
        headers |= {"apns-priority": _APNS_SPARING, "apns-push-type": "background"}
    elif ping.priority == _NORMAL:
        headers["apns-priority"] = _APNS_SPARING  # FCM's own choice is 10, whatever the priority for Android
    if background or ping.sources:
        aps["content-available"] = 1
    return {"headers": headers, "payload": {"aps": aps}} if aps else {"headers": headers}


def _check_size(message: dict[str, Any]) -> None:
    """Check the size that Google limits: data and notification, not the options beside them.

    Raises:
        PayloadTooLarge: over 4,096 bytes.
    """
    android = message["android"]
    parts = (
        message.get("data"),
        message.get("notification"),
        android.get("data"),
        android.get("notification"),
    )
    size = sum(len(orjson.dumps(part)) for part in parts if part)
    if size > PAYLOAD_BYTES:
        raise PayloadTooLarge(f"the FCM payload has {size} bytes; at most {PAYLOAD_BYTES} are allowed")
