"""RhoConnect Push messages: a ping as a message of the RhoConnect Push service (contract §4, §9).

Content of the message: `collapseId`, the badge, if there is one; and `data` with alert (any JSON, unchanged), title,
sound, vibrate (a text) and do_sync (a list), each if the ping has it. A ping with a badge alone, or with nothing, is
not sent. With the setting `ping.include_id`, `data` has the ping's id as `ping_id`.

The order is RhoConnect's. A missing `vibrate` is omitted (contract §10). The badge is the collapse id, as in
RhoConnect, and so a badge alone shows nothing on these devices.
"""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from protocols.errors import InvalidToken, PayloadTooLarge
from protocols.headers import Header
from protocols.ping.content import expires_ms, has_message
from protocols.ping.model import Ping

_TOKEN_CHARACTERS: Final = 512
_PLAIN: Final = re.compile(r"[0-9A-Za-z:-]{1,512}")
"""The form of every token that the service makes, which needs no encoding."""
BODY_BYTES_MAX: Final = 65_536
"""Longest message that the gateway's own service accepts. RhoConnect's messages are far smaller."""


class RhoConnectPushTarget(NamedTuple):
    """Times to live of an app's messages.

    Attributes:
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
        include_id: whether the data has the ping's id as `ping_id` (setting `ping.include_id`).
    """

    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600
    include_id: bool = False


class RhoConnectPushMessage:
    """A message, encoded once for all devices of an app.

    Attributes:
        headers: the regular headers, without authorization. The service requires exactly this content type.
        background: whether there is no alert.
        expires_ms: epoch milliseconds at which it expires.
        data: the JSON that the device receives.
        collapse: the collapse id; None: none.
        name: the ping's id: the gateway's own service queues a message of one name once.
    """

    __slots__ = ("_body", "background", "collapse", "data", "expires_ms", "headers", "name")

    def __init__(self, data: bytes, badge: int | None, background: bool, expires_ms: int, name: str) -> None:
        self.headers: list[Header] = [(b"content-type", b"application/json")]
        self.background = background
        self.expires_ms = expires_ms
        self.data = data
        self.collapse = None if badge is None else str(badge)
        self.name = name
        self._body = b'{"data":%b}' % data
        if badge is not None:
            self._body = b'{"collapseId":%d,"data":%b}' % (badge, data)

    def __repr__(self) -> str:
        return f"<RhoConnect Push message, {len(self._body)} bytes>"

    def path(self, pin: str) -> bytes:
        """The path for a device, with its push token percent-encoded.

        Raises:
            InvalidToken: the push token is empty, too long, or not a text that UTF-8 can carry.
        """
        if _PLAIN.fullmatch(pin):
            return b"/messageQueue/" + pin.encode()
        try:
            encoded = quote(pin, safe=":").encode("ascii")
        except UnicodeEncodeError as error:
            raise InvalidToken("the device's push token holds an unpaired surrogate") from error
        if 1 <= len(pin) <= _TOKEN_CHARACTERS:
            return b"/messageQueue/" + encoded
        raise InvalidToken(
            f"the device's push token must have 1 to {_TOKEN_CHARACTERS} characters for RhoConnect Push"
        )

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The body, which is the same for every device."""
        return self._body


def compose(ping: Ping, target: RhoConnectPushTarget, now_ms: int) -> RhoConnectPushMessage | None:
    """Compose a ping's message for RhoConnect Push devices.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds; used only for pings that no queue has accepted.

    Returns:
        None if the ping shows nothing and syncs nothing.

    Raises:
        PayloadTooLarge: the message is larger than the service accepts.
    """
    data: dict[str, Any] = {}
    if has_message(ping):
        data["alert"] = ping.message
    if ping.title is not None:
        data["title"] = ping.title
    if ping.sound is not None:
        data["sound"] = ping.sound
    if ping.vibrate is not None:
        data["vibrate"] = str(ping.vibrate)
    if ping.sources:
        data["do_sync"] = list(ping.sources)
    if not data:
        return None
    if target.include_id and ping.id:
        data["ping_id"] = ping.id
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    message = RhoConnectPushMessage(orjson.dumps(data), ping.badge, "alert" not in data, ends_ms, ping.id)
    size = len(message.body(""))
    if size > BODY_BYTES_MAX:
        raise PayloadTooLarge(
            f"the RhoConnect Push message has {size} bytes; at most {BODY_BYTES_MAX} are allowed"
        )
    return message
