"""Users, API tokens, logins and the session secret, in RhoConnect's key layout (contract §7).

Where Redis holds an admin and its token, that is the truth; the configured token opens the door only where it
does not. Nothing here makes an admin, and an empty password opens nothing.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from gateway.errors import NotFound, RecordRefused, TooManyRequests
from gateway.settings import Secret
from gateway.store import keys, passwords
from gateway.store.asking import Asker, asked_of_redis
from gateway.store.clients import delete_client
from gateway.store.passwords import Kept
from protocols.errors import InvalidField

USER_FIELDS: Final = ("rho__id", "login", "email", "salt", "hashed_password", "admin", "token_id")
FAILURES_A_LOGIN: Final = 10
FAILURES_AN_ADDRESS: Final = 100  # many phones stand behind one address
_LOGIN: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
NAME_CHARACTERS: Final = 1_024
"""Of a login or an API token: a longer text is none."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_HASHES_AT_ONCE: Final = 2  # 32 MiB and a core each


class Standing(Enum):
    """What an API token is worth."""

    MISSING = "missing"
    OTHER = "other"
    ADMIN = "admin"


class User(NamedTuple):
    """A user as Redis has it. Its repr shows no secrets.

    Attributes:
        login: the user's name.
        email: None: never set.
        admin: whether it may use the admin routes.
        token: its API token, "" without one.
        kept: salt and hash of its password.
    """

    login: str
    email: str | None
    admin: bool
    token: str
    kept: Kept

    def __repr__(self) -> str:
        return f"User({self.login!r}, admin={self.admin})"

    @property
    def fingerprint(self) -> str:
        """Changes with the password: sessions of an old one end."""
        return _digest(f"{self.kept.salt}\n{self.kept.hashed}")[:16]


class Accounts:
    """The users of this Redis.

    Args:
        redis: a client of RhoConnect's Redis or the embedded one (replies as bytes).
        api_token: the configured API token.
        admin_password: of `rhoadmin`, where Redis holds none; None or empty: no login.
        owns_store: no RhoConnect reads this Redis, so passwords may be kept better than it can.
    """

    def __init__(
        self, redis: Redis, *, api_token: Secret, admin_password: Secret | None, owns_store: bool
    ) -> None:
        self._redis = redis
        self._ask = Asker(redis)
        self._api_token = api_token
        self._admin_password = admin_password
        self._owns_store = owns_store
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    # -- API tokens ------------------------------------------------------------------------------------------

    async def standing(self, token: str) -> Standing:
        """What this API token is worth (contract §1.1).

        Raises:
            StoreDown: Redis does not answer.
        """
        if not _may_be_a_name(token):
            return Standing.MISSING
        exists, login, ours = await self._get(
            keys.api_token(token, "rho__id"),
            keys.api_token(token, "user_id"),
            keys.user(keys.ADMIN_LOGIN, "token_id"),
        )
        if exists is None:
            configured = not ours and _same(token, self._api_token.reveal())
            return Standing.ADMIN if configured else Standing.MISSING
        user = await self.user(login or "")
        return Standing.ADMIN if user is not None and user.admin else Standing.OTHER

    async def admin_token(self, user: User) -> str:
        """The API token that an admin gets at its login: its own, else the configured one."""
        return user.token or self._api_token.reveal()

    # -- logins ----------------------------------------------------------------------------------------------

    async def login(self, login: str, password: str, address: str) -> User | None:
        """Check a password. None: no such user, or not its password.

        Raises:
            TooManyRequests: too many failures lately, of this login or this address.
            StoreDown: Redis does not answer.
        """
        scopes = (f"login:{login}", f"address:{address}")
        names = [keys.login_failures(_digest(scope)[:32]) for scope in scopes]
        counts = [int(count or 0) for count in await self._get(*names)]
        if counts[0] >= FAILURES_A_LOGIN or counts[1] >= FAILURES_AN_ADDRESS:
            raise TooManyRequests("too many failed logins", retry_after_s=keys.LOGIN_WINDOW_S)
        user = await self._checked(login, password)
        if user is None:
            with asked_of_redis():
                async with self._redis.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.incr(name)
                        pipe.expire(name, keys.LOGIN_WINDOW_S)
                    await pipe.execute()
        return user

    async def _checked(self, login: str, password: str) -> User | None:
        user = await self.user(login) if _may_be_a_name(login) else None
        if user is None:
            return self._configured_admin(login, password)
        async with self._hashing:
            good = await asyncio.to_thread(passwords.matches, password, user.kept)
        if not good:
            return None
        if self._owns_store and user.kept.weak:
            kept = await self._keep(password)
            await self._write({"salt": kept.salt, "hashed_password": kept.hashed}, login)
            user = user._replace(kept=kept)
        return user

    def _configured_admin(self, login: str, password: str) -> User | None:
        wanted = self._admin_password.reveal() if self._admin_password is not None else ""
        if login == keys.ADMIN_LOGIN and wanted and _same(password, wanted):
            return User(login, None, True, "", Kept("", _digest(wanted)))
        return None

    async def session_user(self, login: str, fingerprint: str) -> User | None:
        """The user of a session, if it still exists and has the password that it had at its login."""
        user = await self.user(login)
        if user is None and login == keys.ADMIN_LOGIN and self._admin_password:
            user = self._configured_admin(login, self._admin_password.reveal())
        return user if user is not None and _same(user.fingerprint, fingerprint) else None

    async def session_secret(self) -> bytes:
        """The key of the session cookies: made by whoever comes first, the same in all processes.

        Looked for first: a full Redis refuses a write, also one that would change nothing.
        """
        kept = await self._ask("GET", keys.SESSION_HMAC)
        if kept is None:
            await self._ask("SET", keys.SESSION_HMAC, secrets.token_hex(32), "NX")
            kept = await self._ask("GET", keys.SESSION_HMAC)
        return bytes.fromhex(kept.decode())

    # -- users -----------------------------------------------------------------------------------------------

    async def logins(self) -> list[str]:
        """Every login but rhoadmin, as the set has them."""
        found = await self._ask.texts("SMEMBERS", keys.APP_USERS)
        return [login for login in found if login is not None]

    async def user(self, login: str) -> User | None:
        """One user; None: there is none."""
        names = [keys.user(login, field) for field in USER_FIELDS]
        exists, _, email, salt, hashed, admin, token = await self._get(*names)
        if exists is None:
            return None
        return User(login, email, admin == "1", token or "", Kept(salt or "", hashed or ""))

    async def create(self, login: str, password: str) -> User:
        """Create a user.

        Raises:
            RecordRefused: no login, or one that exists (in RhoConnect's words).
            InvalidField: a login with control characters or longer than 255 characters.
        """
        if not login:
            raise RecordRefused("Empty login", field="login")
        if _LOGIN.fullmatch(login) is None:
            raise InvalidField("a login has 1 to 255 characters and no control characters", field="login")
        kept = await self._keep(password) if password else Kept("", "")
        fields = {"login": login, "salt": kept.salt, "hashed_password": kept.hashed}
        if not await self._ask("SET", keys.user(login, "rho__id"), login, "NX"):
            raise RecordRefused(f"Record already exists for '{login}'", field="login")
        with asked_of_redis():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.mset({keys.user(login, name): text for name, text in fields.items() if text})
                pipe.incr(keys.count("user"))
                pipe.set(keys.app("rho__id"), "application", nx=True)
                pipe.set(keys.app("name"), "application", nx=True)
                pipe.sadd(keys.APP_USERS, login)
                await pipe.execute()
        return User(login, None, False, "", kept)

    async def update(self, login: str, attributes: Mapping[str, Any]) -> None:
        """Change a user's email or password (`new_password`); its login never (contract §2).

        Raises:
            NotFound: there is no such user.
            InvalidField: a value is no text.
        """
        await self._must_exist(login)
        fields: dict[str, str] = {}
        for name in ("email", "password", "new_password"):
            value = attributes.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise InvalidField(f"{name} must be a text", field=f"attributes.{name}")
            if name == "email":
                fields["email"] = value
            else:
                kept = await self._keep(value) if value else Kept("", "")
                fields |= {"salt": kept.salt, "hashed_password": kept.hashed}
        if fields:
            await self._write(fields, login)

    async def delete(self, login: str) -> None:
        """Delete a user with its clients and its API token.

        Raises:
            NotFound: there is no such user.
        """
        user = await self._must_exist(login)
        found = await self._ask.texts("SMEMBERS", keys.user(login, "clients"))
        clients = [client_id for client_id in found if client_id is not None]
        with asked_of_redis():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(keys.APP_USERS, login)
                pipe.delete(*(keys.user(login, field) for field in (*USER_FIELDS, "clients")))
                for client_id in clients:
                    delete_client(pipe, client_id)
                if user.token:
                    pipe.delete(
                        *(keys.api_token(user.token, name) for name in ("rho__id", "value", "user_id"))
                    )
                pipe.decrby(keys.count("user"), 1)
                pipe.decrby(keys.count("client"), len(clients))
                await pipe.execute()

    async def _must_exist(self, login: str) -> User:
        user = await self.user(login)
        if user is None:
            raise NotFound("there is no such user", field="user_id")
        return user

    async def _keep(self, password: str) -> Kept:
        if not self._owns_store:
            return passwords.keep_for_rhoconnect(password)
        async with self._hashing:
            return await asyncio.to_thread(passwords.keep_strong, password)

    async def _write(self, fields: Mapping[str, str], login: str) -> None:
        with asked_of_redis():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.mset({keys.user(login, name): text for name, text in fields.items()})
                await pipe.execute()

    async def _get(self, *names: str) -> list[str | None]:
        return await self._ask.texts("MGET", *names)


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _may_be_a_name(text: str) -> bool:
    """Whether this can be part of a key: not empty or endless, and UTF-8 (a header may be none)."""
    return 0 < len(text) <= NAME_CHARACTERS and not _SURROGATE.search(text)
