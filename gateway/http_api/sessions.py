"""Session cookies: user and expiry, signed with an HMAC-SHA256 key that all processes share.

The value is `base64url(JSON)--hex(HMAC)`. Sessions of RhoConnect itself (marshalled Ruby objects) are never read.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

COOKIE: Final = "rhoconnect_session"
LIFETIME_S: Final = 31_536_000  # RhoConnect's cookie_expire (contract §8)
_VALUE_CHARACTERS: Final = 4_096
_DRIFT_S: Final = 2 * 86_400
_KEY_S: Final = 1.0
"""Longest use of a key without reading it again."""
_RECHECK_S: Final = 0.1
"""Least age of a key that is read again because of a cookie that it did not sign: such cookies may be invented."""


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


class SharedSessions:
    """Sessions signed with the key in Redis, which all processes share.

    RhoConnect's `system/reset` empties Redis, and the next process that needs a key makes another one. A process that
    kept its former key would refuse the sessions of the others, and issue sessions that the others refuse.

    Args:
        read_key: reads the key (`gateway.registry.accounts.Accounts.session_secret`).
        clock: monotonic seconds.
    """

    def __init__(
        self, read_key: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read_key = read_key
        self._clock = clock
        self._sessions: Sessions | None = None
        self._read_s = float("-inf")

    async def issue(self, session: Session) -> str:
        """Return the cookie's value, signed with the present key. Raises StoreDown."""
        return (await self._read(0.0)).issue(session)

    async def read(self, value: str, now_s: float) -> Session | None:
        """Return the session of a cookie's value as `Sessions.read`. Raises StoreDown."""
        session = (await self._read(_KEY_S)).read(value, now_s)
        return session or (await self._read(_RECHECK_S)).read(value, now_s)

    async def _read(self, age_s: float) -> Sessions:
        """Return the sessions of the key, which is read again if it was read this many seconds ago or more."""
        asked_s = self._clock()
        if self._sessions is None or asked_s - self._read_s >= age_s:
            self._sessions = Sessions(await self._read_key())
            self._read_s = asked_s
        return self._sessions
