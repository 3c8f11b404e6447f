"""What an Apple device is told: a ping as an APNs notification (Apple, "Generating a remote notification").

What the ping holds, and what is sent:

- a message or title: push type alert, priority 10 (5 if the ping says normal); `aps` has alert, badge, sound
  and vibrate as given, and with sources content-available 1, so that the app syncs without a tap.
- a badge or sound without a message: the same, without an alert.
- sources alone, or with vibrate: push type background, priority 5; `aps` has only content-available 1.
- vibrate alone: the same; there is nothing to show, only something for the app.
- nothing: not sent.

RhoConnect's keys stay as its apps know them (contract §4): `aps.alert`, `aps.badge`, `aps.sound`,
`aps.vibrate` (a text) and `do_sync` (a list). iOS ignores custom keys in `aps`, so `vibrate` also stands
beside it. A background notification may hold neither alert, badge nor sound, and priority 10 is an error
there ("Sending notification requests to APNs", here SEND).
"""

import functools
import re
from typing import Any, Final, NamedTuple

import orjson

from protocols.errors import InvalidField, InvalidToken, PayloadTooLarge
from protocols.http2.client import never_indexed
from protocols.ping.content import alert_of, expires_ms, is_alert_object, merged
from protocols.ping.model import Ping

PAYLOAD_BYTES: Final = 4096  # SEND
VOIP_PAYLOAD_BYTES: Final = 5120
VOIP_SUFFIX: Final = ".voip"  # a topic with this ending takes VoIP pushes only

Header = tuple[bytes, bytes]

PIN_BYTES: Final = 256  # Apple's tokens have no fixed length; the bound keeps a path a path
# A bundle id, with the ending of a push type.
_TOPIC: Final = re.compile(r"[A-Za-z0-9.\-_]{1,255}")
_SHOWN: Final = frozenset({"alert", "badge", "sound"})
_ALERT_PRIORITY: Final = {None: b"10", "high": b"10", "normal": b"5"}


class Target(NamedTuple):
    """Where an app's notifications go, and how long they live.

    Attributes:
        topic: the app's bundle id.
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
    """

    topic: str
    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600


class Message:
    """One notification, encoded once for all devices of an app.

    Attributes:
        headers: the regular headers, without authorization.
        background: nothing is shown; iOS lets only a few an hour through to the app.
        expires_ms: epoch milliseconds after which it is of no use.
    """

    __slots__ = ("_body", "background", "expires_ms", "headers")

    def __init__(self, headers: list[Header], body: bytes, background: bool, expires_ms: int) -> None:
        self.headers = headers
        self.background = background
        self.expires_ms = expires_ms
        self._body = body

    def __repr__(self) -> str:
        return f"<APNs message, {'background' if self.background else 'alert'}, {len(self._body)} bytes>"

    def path(self, pin: str) -> bytes:
        """Give the `:path` for a device.

        Raises:
            InvalidToken: the pin is no hex; it could be a path of its own.
        """
        try:
            size = len(bytes.fromhex(pin))
        except ValueError as error:
            raise InvalidToken("the device's pin is no APNs token: it must be hexadecimal") from error
        if not 1 <= size <= PIN_BYTES:
            raise InvalidToken(f"the device's pin is no APNs token: it must have 1 to {PIN_BYTES} bytes")
        if size * 2 != len(pin):  # spaces between bytes: RhoConnect took tokens as iOS printed them
            pin = "".join(pin.split())
        return b"/3/device/" + pin.encode("ascii")

    def body(self, pin: str) -> bytes:
        """Give the payload: the same for every device."""
        return self._body


def compose(ping: Ping, target: Target, now_ms: int) -> Message | None:
    """Make a ping's notification for an app.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds; counts only for pings that no queue has accepted.

    Returns:
        None where there is nothing to show and nothing to sync.

    Raises:
        PayloadTooLarge: over 4,096 bytes (VoIP 5,120).
        InvalidField: the app's topic cannot be one.
    """
    payload = _payload(ping)
    if not payload:
        return None
    topic, voip = _topic(target.topic)
    aps: dict[str, Any] = payload.setdefault("aps", {})
    background = not voip and _SHOWN.isdisjoint(aps)
    if background:
        aps["content-available"] = 1
    body = _encoded(payload, VOIP_PAYLOAD_BYTES if voip else PAYLOAD_BYTES)
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    headers = [
        topic,
        (b"apns-push-type", b"voip" if voip else b"background" if background else b"alert"),
        (b"apns-priority", b"5" if background else _ALERT_PRIORITY[ping.priority]),
        # 0 means one try and no storage (SEND), which is what no time to live asks for.
        (b"apns-expiration", b"0" if ping.ttl_s == 0 else b"%d" % (ends_ms // 1000)),
    ]
    collapse_id = ping.collapse_id or ping.id
    if collapse_id:
        header = (b"apns-collapse-id", collapse_id.encode())
        # The id of a ping to one user comes once, and HPACK's table is for what comes again: 0.35 µs a push.
        once = collapse_id is ping.id and len(ping.users) == 1
        headers.append(never_indexed(*header) if once else header)
    return Message(headers, body, background, ends_ms)


@functools.lru_cache(maxsize=1024)
def _topic(topic: str) -> tuple[Header, bool]:
    """Give an app's header, and whether its pushes are VoIP's. An app's pings all have the same.

    Raises:
        InvalidField: it cannot be a topic.
    """
    if not _TOPIC.fullmatch(topic):
        raise InvalidField("the APNs topic must be a bundle id", field="apns.topic")
    return (b"apns-topic", topic.encode()), topic.endswith(VOIP_SUFFIX)


def _payload(ping: Ping) -> dict[str, Any]:
    """Build the payload; {} where a ping holds nothing for an Apple device."""
    aps: dict[str, Any] = {}
    alert = _alert(ping)
    if alert is not None:
        aps["alert"] = alert
    if ping.badge is not None:
        aps["badge"] = ping.badge
    if ping.sound is not None:
        aps["sound"] = ping.sound
    payload: dict[str, Any] = {"aps": aps} if aps else {}
    vibrate = None if ping.vibrate is None else str(ping.vibrate)
    if aps and vibrate is not None:
        aps["vibrate"] = vibrate
    if ping.sources:
        payload.setdefault("aps", aps)["content-available"] = 1
        payload["do_sync"] = list(ping.sources)
    if vibrate is not None:
        payload["vibrate"] = vibrate
    return merged(payload, ping.apns) if ping.apns else payload


def _alert(ping: Ping) -> str | dict[str, Any] | None:
    """Give `aps.alert`: text, or Apple's object where there is a title or the caller sent such an object."""
    if type(ping.message) is str and ping.message and not ping.title:  # the common case
        return ping.message
    if is_alert_object(ping.message):
        return {"title": ping.title, **ping.message} if ping.title else ping.message
    alert = alert_of(ping)
    if alert is None:
        return None
    if alert.title is None:
        return alert.body
    return {"title": alert.title} if alert.body is None else {"title": alert.title, "body": alert.body}


def _encoded(payload: dict[str, Any], limit: int) -> bytes:
    body = orjson.dumps(payload)
    if len(body) > limit:
        raise PayloadTooLarge(f"the APNs payload has {len(body)} bytes; at most {limit} are allowed")
    return body
