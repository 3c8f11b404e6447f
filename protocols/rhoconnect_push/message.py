"""What a legacy device is told: a ping as a message of the RhoConnect Push Service (contract §4, §9).

What the ping holds, and what is sent: `collapseId`, the badge, where there is one; and `data` with alert (any
JSON, as it came), title, sound, vibrate (a text) and do_sync (a list), each where the ping has it. A badge
alone, or nothing: not sent.

In the order in which RhoConnect writes them. A missing `vibrate` is left out (contract §10). The badge is the collapse
id, as in RhoConnect, and so a badge alone shows nothing on these devices.
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
"""Every token that the service makes: nothing in it needs encoding."""
BODY_BYTES_MAX: Final = 65_536
"""What our own service takes. RhoConnect's messages are far smaller."""


class RhoConnectPushTarget(NamedTuple):
    """How long an app's messages live.

    Attributes:
        ttl_s: time to live of a ping that shows something.
        sync_ttl_s: time to live of any other.
    """

    ttl_s: int = 86_400
    sync_ttl_s: int = 3_600


class RhoConnectPushMessage:
    """One message, encoded once for all devices of an app.

    Attributes:
        headers: the regular headers, without authorization. The service wants exactly this content type.
        background: there is no alert.
        expires_ms: epoch milliseconds after which it is of no use.
        data: what the device gets, as JSON.
        collapse: the collapse id; None: none.
        name: the ping's id: a service of our own queues a message of one name once.
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
        return f"<RPS message, {len(self._body)} bytes>"

    def path(self, pin: str) -> bytes:
        """Give the path for a device, with its pin percent-encoded.

        Raises:
            InvalidToken: the pin is empty, too long, or no text that UTF-8 can carry.
        """
        if _PLAIN.fullmatch(pin):
            return b"/messageQueue/" + pin.encode()
        try:
            encoded = quote(pin, safe=":").encode("ascii")
        except UnicodeEncodeError as error:
            raise InvalidToken("the device's pin is no RPS token: it holds half a character") from error
        if 1 <= len(pin) <= _TOKEN_CHARACTERS:
            return b"/messageQueue/" + encoded
        raise InvalidToken(
            f"the device's pin is no RPS token: it must have 1 to {_TOKEN_CHARACTERS} characters"
        )

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """Give the body: the same for every device."""
        return self._body


def compose(ping: Ping, target: RhoConnectPushTarget, now_ms: int) -> RhoConnectPushMessage | None:
    """Make a ping's message for legacy devices.

    Args:
        ping: the ping.
        target: the app's settings.
        now_ms: the time, in epoch milliseconds; counts only for pings that no queue has accepted.

    Returns:
        None where there is nothing to show and nothing to sync.

    Raises:
        PayloadTooLarge: the message is larger than the service takes.
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
    encoded = orjson.dumps(data)
    if len(encoded) > BODY_BYTES_MAX - 100:
        raise PayloadTooLarge(f"the message has {len(encoded)} bytes, a legacy device takes {BODY_BYTES_MAX}")
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    return RhoConnectPushMessage(encoded, ping.badge, "alert" not in data, ends_ms, ping.id)
