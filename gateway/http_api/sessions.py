"""Session cookies: who logged in, until when, under an HMAC-SHA256 that all processes share.

The value is `base64url(JSON)--hex(HMAC)`. A session of RhoConnect itself (a marshalled Ruby object) is never
read.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

COOKIE: Final = "rhoconnect_session"
LIFETIME_S: Final = 31_536_000  # RhoConnect's cookie_expire (contract §8)
_VALUE_CHARACTERS: Final = 4_096
_DRIFT_S: Final = 2 * 86_400


class Session(msgspec.Struct, frozen=True, array_like=True):
    """What a cookie says.

    Attributes:
        login: the user.
        fingerprint: of its password at the login; an old one ends the session.
        until_s: epoch seconds of its end.
        admin: made by `system/login`.
    """

    login: str
    fingerprint: str
    until_s: int
    admin: bool = False


class Sessions:
    """Makes and reads cookie values.

    Args:
        secret: the HMAC's key.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._decoder = msgspec.json.Decoder(Session)

    def issue(self, session: Session) -> str:
        """The cookie's value."""
        text = base64.urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=")
        return f"{text.decode()}--{self._mac(text)}"

    def read(self, value: str, now_s: float) -> Session | None:
        """What a cookie's value says; None: not ours, altered or over."""
        text, _, mac = value.rpartition("--")
        if len(value) > _VALUE_CHARACTERS or not value.isascii():
            return None
        if not hmac.compare_digest(self._mac(text.encode()), mac):
            return None
        try:
            session = self._decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (msgspec.MsgspecError, binascii.Error, ValueError):
            return None
        # One that lasts longer than any may was made by a clock that was far ahead.
        return session if now_s < session.until_s <= now_s + LIFETIME_S + _DRIFT_S else None

    def _mac(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
