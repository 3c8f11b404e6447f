"""Sessions of the console.

A session is stored in Redis under the digest of its id, encrypted by a key that is derived from the id. The id is in
the browser's cookie alone: neither a copy of Redis nor of its log gives a session or the token of one.

Any caller can invent ids. They are looked up in batches, in turn by client, so that a flood of them occupies one
connection to Redis and delays neither other sessions nor other routes.
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from redis.asyncio import Redis

from gateway.scheduling.lookups import Lookups
from gateway.store import keys
from gateway.store.errors import RedisCommands

COOKIE: Final = "rhopush_console"
LOGIN_COOKIE: Final = "rhopush_console_login"
"""Holds the CSRF token of the login form, which has no session yet."""
SessionKind = Literal["api_token", "token", "account"]
_ID_BYTES: Final = 32
_ID_CHARACTERS: Final = 64
"""Longest id that is looked up; `secrets.token_urlsafe(32)` has 43 characters."""


class ConsoleSession(msgspec.Struct, frozen=True, array_like=True):
    """The content of a session.

    Attributes:
        kind: whether RhoConnect's API token, a named token, or the password of an admin account began it.
        name: of the named token or account; "" for RhoConnect's API token.
        secret: the API token, the fingerprint of the named token, or that of the account's password: each request
            checks it again.
        csrf: the token that each form of the session contains.
    """

    kind: SessionKind
    name: str
    secret: str
    csrf: str

    def __repr__(self) -> str:
        return f"ConsoleSession({self.kind!r}, {self.name!r})"


class ConsoleSessions:
    """Stores the sessions.

    Args:
        redis: a client of RhoConnect's Redis or the embedded one.
    """

    def __init__(self, redis: Redis) -> None:
        self._ask = RedisCommands(redis)
        self._look_up = Lookups(self._sealed)
        self._decode: Final = msgspec.json.Decoder(ConsoleSession).decode

    async def begin(self, kind: SessionKind, name: str, secret: str) -> str:
        """Store a new session, and return its id.

        Raises:
            StoreDown: Redis does not answer, or refuses to write.
        """
        session_id = secrets.token_urlsafe(_ID_BYTES)
        session = ConsoleSession(kind, name, secret, secrets.token_urlsafe(_ID_BYTES))
        sealed = _cipher(session_id).encrypt(msgspec.json.encode(session)).decode()
        await self._ask("SET", _key(session_id), sealed, "EX", str(keys.CONSOLE_SESSION_S))
        return session_id

    async def read(self, session_id: str, client: str = "") -> ConsoleSession | None:
        """Return the session of an id; None: it has ended, or never began.

        Args:
            session_id: the id.
            client: the client that sent it; look-ups are shared fairly among clients.

        Raises:
            AuthenticationBusy: too many look-ups wait.
            StoreDown: Redis does not answer.
        """
        if not 0 < len(session_id) <= _ID_CHARACTERS or not session_id.isascii():
            return None
        sealed = await self._look_up(_key(session_id), client)
        if sealed is None:
            return None
        try:
            return self._decode(_cipher(session_id).decrypt(sealed))
        except (InvalidToken, msgspec.MsgspecError):
            return None

    async def end(self, session_id: str) -> None:
        """Delete the session of an id, if there is one.

        Raises:
            StoreDown: Redis does not answer, or refuses to write.
        """
        await self._ask("DEL", _key(session_id))

    async def close(self) -> None:
        """Cancel the look-ups and their callers."""
        await self._look_up.close()

    async def _sealed(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """The values of these keys."""
        found: Sequence[bytes | None] = await self._ask("MGET", *names)
        return found


def _key(session_id: str) -> str:
    return keys.console_session(hashlib.sha256(f"id:{session_id}".encode()).hexdigest())


def _cipher(session_id: str) -> Fernet:
    digest = hashlib.sha256(f"content:{session_id}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(digest))
