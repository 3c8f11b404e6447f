"""Session cookies: user and expiry, signed with an HMAC-SHA256 key that all processes share.

The value is `base64url(JSON)--hex(HMAC)`. Sessions of RhoConnect itself (marshalled Ruby objects) are never read.
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
    """The content of a cookie.

    Attributes:
        login: the user.
        fingerprint: fingerprint of the user's password at the login; a changed password ends the session.
        until_s: expiry, in epoch seconds.
        admin: whether `system/login` created the session.
    """

    login: str
    fingerprint: str
    until_s: int
    admin: bool = False


class Sessions:
    """Issues and validates cookie values.

    Args:
        secret: the key of the HMAC.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._decoder = msgspec.json.Decoder(Session)

    def issue(self, session: Session) -> str:
        """Return the cookie's value."""
        text = base64.urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=")
        return f"{text.decode()}--{self._mac(text)}"

    def read(self, value: str, now_s: float) -> Session | None:
        """Return the session of a cookie's value; None if the value is not signed by this key, malformed or expired."""
        text, _, mac = value.rpartition("--")
        if len(value) > _VALUE_CHARACTERS or not value.isascii():
            return None
        if not hmac.compare_digest(self._mac(text.encode()), mac):
            return None
        try:
            session = self._decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except (msgspec.MsgspecError, binascii.Error, ValueError):
            return None
        # A longer lifetime than any session has comes from a clock that was far ahead.
        return session if now_s < session.until_s <= now_s + LIFETIME_S + _DRIFT_S else None

    def _mac(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
