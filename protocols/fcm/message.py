"""What an FCM device is told: a ping as an FCM HTTP v1 message (Google, REST reference of
`projects.messages`).

What the ping holds, and what is sent:

- a message or title: data (do_sync, alert, title, badge, vibrate, sound) and a notification with title and
  body, for Android with sound, vibration, count and tag; priority high. With style "data" there is no
  notification block.
- a badge or sound without a message: data only, priority normal.
- sources alone, or with vibrate: the same, and the sources' own collapse key: one of them is enough for an
  absent phone.
- vibrate alone: data only, priority normal.
- nothing: not sent.

The data are RhoConnect's (contract §4): `do_sync` is names joined by commas, "" for none, `vibrate` a text.
They stand at the message's top level, where iOS apps that registered with FCM get them too; those also get an
`apns` block. A priority of the ping's own always counts. Data without a notification go out as normal: FCM
holds back the apps that use high priority and show nothing (Google, "Set and manage Android message
priority").
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from protocols.errors import InvalidToken, PayloadTooLarge
from protocols.ping.content import Alert, alert_of, expires_ms, has_message, merged, shows, text_of
from protocols.ping.model import Ping

PAYLOAD_BYTES: Final = 4096  # "About FCM messages"
COLLAPSE_KEY_BYTES: Final = 64
NOTIFICATION: Final = "notification"  # fcm.style: FCM shows the message
DATA: Final = "data"  # fcm.style: the app gets it and shows it itself

Header = tuple[bytes, bytes]

TOKEN_CHARACTERS: Final = 4096  # real ones have some 160; Google names no limit
_HEAD: Final = b'{"message":{"token":'


class Target(NamedTuple):
    """Where an app's messages go, and how long they live.

    Attributes:
        project_id: the Firebase project.
        package_name: Android's package that may get them; "" for any.
        style: "notification" or "data", see `NOTIFICATION` and `DATA`.
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
    """

    project_id: str
    package_name: str = ""
    style: str = NOTIFICATION
    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600


class Message:
    """One message, encoded once for all devices of an app; only the token is put in for each.

    Attributes:
        headers: the regular headers, without authorization.
        background: there is no notification block.
        expires_ms: epoch milliseconds after which it is of no use.
    """

    __slots__ = ("_path", "_tail", "background", "expires_ms", "headers")

    def __init__(self, path: bytes, tail: bytes, background: bool, expires_ms: int) -> None:
        self.headers: list[Header] = [(b"content-type", b"application/json")]
        self.background = background
        self.expires_ms = expires_ms
        self._path = path
        self._tail = tail

    def __repr__(self) -> str:
        return f"<FCM message, {'data' if self.background else 'notification'}, {len(self._tail)} bytes>"

    def path(self, pin: str) -> bytes:
        """Give the `:path`: the same for every device."""
        return self._path

    def body(self, pin: str) -> bytes:
        """Give the body for a device.

        Raises:
            InvalidToken: the pin is empty, longer than any token, or no text that JSON can carry.
        """
        try:
            token = orjson.dumps(pin)
        except TypeError as error:
            raise InvalidToken("the device's pin is no FCM token: it holds half a character") from error
        if not 1 <= len(pin) <= TOKEN_CHARACTERS:
            raise InvalidToken(
                f"the device's pin is no FCM token: it must have 1 to {TOKEN_CHARACTERS} characters"
            )
        return b"%b%b%b" % (_HEAD, token, self._tail)


def compose(ping: Ping, target: Target, now_ms: int) -> Message | None:
    """Make a ping's message for an app.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds: FCM's time to live is what is left of the ping's.

    Returns:
        None where there is nothing to show and nothing to sync.

    Raises:
        PayloadTooLarge: data and notification have over 4,096 bytes together.
    """
    if not (ping.sources or ping.vibrate is not None or ping.fcm or shows(ping)):
        return None
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    alert = alert_of(ping)
    message: dict[str, Any] = {"data": _data(ping, alert)}
    if alert and target.style == NOTIFICATION:
        message["notification"] = _notification(alert)
    notified = "notification" in message or (ping.fcm is not None and "notification" in ping.fcm)
    message["android"] = _android(ping, target, alert is not None or notified, max(0, ends_ms - now_ms))
    if notified:
        message["android"]["notification"] = _android_notification(ping)
    message["apns"] = _apns(ping, notified, ends_ms)
    if ping.fcm:
        message = merged(message, ping.fcm)
    # The token's place is between this constant head and tail.
    tail = b"," + orjson.dumps(message)[1:] + b"}"
    if len(tail) > PAYLOAD_BYTES:
        _check_size(message)
    return Message(_path(target.project_id), tail, not notified, ends_ms)


@lru_cache(maxsize=1024)
def _path(project_id: str) -> bytes:
    return f"/v1/projects/{quote(project_id, safe=':')}/messages:send".encode("ascii")


def _notification(alert: Alert) -> dict[str, Any]:
    if alert.title is None:
        return {"body": alert.body}
    return {"title": alert.title} if alert.body is None else {"title": alert.title, "body": alert.body}


def _data(ping: Ping, alert: Alert | None) -> dict[str, str]:
    """Give RhoConnect's data, all texts. A message without a text of its own is passed as JSON."""
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


def _android(ping: Ping, target: Target, urgent: bool, left_ms: int) -> dict[str, Any]:
    android: dict[str, Any] = {
        "priority": ping.priority or ("high" if urgent else "normal"),
        "ttl": f"{-(-left_ms // 1000)}s",  # rounded up: 0 would mean now or never
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
    """Give Android's part of the notification. A repeat of a ping replaces it, by the same tag."""
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
    """Name the sync of these sources: of several that wait for an absent phone, one is enough.

    FCM keeps four keys a device ("Collapsible and non-collapsible messages"). A key without the sources'
    names would lose those that differ.
    """
    key = "sync:" + ",".join(sources)
    if len(key.encode()) <= COLLAPSE_KEY_BYTES:
        return key
    return "sync:" + hashlib.sha256(key.encode()).hexdigest()[:32]


def _apns(ping: Ping, notified: bool, ends_ms: int) -> dict[str, Any]:
    """Give the block for iOS devices that registered with FCM, by the rules of `protocols.apns.message`."""
    aps: dict[str, Any] = {}
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
        headers |= {"apns-priority": "5", "apns-push-type": "background"}
    if background or ping.sources:
        aps["content-available"] = 1
    return {"headers": headers, "payload": {"aps": aps}} if aps else {"headers": headers}


def _check_size(message: dict[str, Any]) -> None:
    """Count what Google counts: data and notification, not the options beside them.

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
