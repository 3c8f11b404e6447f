"""Users, API tokens, logins and the session secret, in RhoConnect's key layout (contract §7).

If Redis holds an admin and its token, they apply; the configured token is valid only if Redis holds none. This
module never creates an admin, and an empty password is never valid.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis

from gateway.errors import LoginRefused, NotFound, RecordRefused, TooManyUsers
from gateway.registry import account_scripts, passwords
from gateway.registry.clients import TokenMailbox, delete_client, drop_waiting, execute_counted
from gateway.registry.hashing import HASHES_AT_ONCE, in_hash_thread
from gateway.registry.login_limits import LoginLimits, account_of
from gateway.registry.logins import LoginThrottle
from gateway.registry.passwords import UNUSABLE_HASH, PasswordHash
from gateway.scheduling.lookups import Lookups
from gateway.scheduling.scheduler import LIGHT_SLICE, slices
from gateway.settings import Secret
from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.errors import RedisCommands, redis_errors
from protocols.errors import InvalidField, wrong_type

USER_FIELDS: Final = ("rho__id", "login", "email", "salt", "hashed_password", "admin", "token_id")
LOGIN: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
NAME_CHARACTERS: Final = 1_024
"""Longest login or API token; a longer text is invalid."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_SECRET_BYTES: Final = 32
# KEYS: secret; ARGV: a new one. Returns the secret: a stored value that is not one is replaced.
_SECRET: Final = f"""
local kept = redis.call('GET', KEYS[1])
if kept and #kept == {2 * _SECRET_BYTES} and not string.find(kept, '%X') then return kept end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
"""
_CHECKS_AT_ONCE: Final = 8
"""Concurrent checks of logins with RhoConnect's hash, which takes almost no CPU time: they wait for Redis."""


class TokenRole(Enum):
    """Permission of an API token."""

    MISSING = "missing"
    OTHER = "other"
    ADMIN = "admin"


class User(NamedTuple):
    """A user as Redis has it. Its repr shows no secrets.

    Attributes:
        login: the user's name.
        email: the email address; None: never set.
        admin: whether the user may use the admin routes.
        token: the user's API token; "" if there is none.
        password_hash: salt and hash of the user's password.
    """

    login: str
    email: str | None
    admin: bool
    token: str
    password_hash: PasswordHash

    def __repr__(self) -> str:
        return f"User({self.login!r}, admin={self.admin})"

    @property
    def fingerprint(self) -> str:
        """A digest that changes with the password, so that sessions of an old password end."""
        return _digest(f"{self.password_hash.salt}\n{self.password_hash.hashed}")[:16]


class Accounts:
    """The users of this Redis.

    Args:
        redis: a client of RhoConnect's Redis or the embedded one (replies as bytes).
        api_token: the configured API token.
        admin_password: password of `rhoadmin` if Redis holds none; None or empty: no login.
        owns_store: whether no RhoConnect reads this Redis, so that a stronger hash may be used.
        reserved: a client of the same Redis with connections for `token_role` alone; None: `redis`.
        hashes_at_once: most passwords that this process hashes at the same time.
        mailbox: RhoConnect Push registrations outside of this Redis; None: they are in it, or there are none.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        api_token: Secret,
        admin_password: Secret | None,
        owns_store: bool,
        reserved: Redis | None = None,
        hashes_at_once: int = HASHES_AT_ONCE,
        mailbox: TokenMailbox | None = None,
    ) -> None:
        self._redis = redis
        self._mailbox = mailbox
        self._ask = RedisCommands(redis)
        self._ask_first = RedisCommands(reserved or redis)
        self._api_token = api_token
        self._admin_password = admin_password
        self._owns_store = owns_store
        self._logins = LoginThrottle(LoginLimits(redis), hashes_at_once if owns_store else _CHECKS_AT_ONCE)
        self._users = Lookups(self.users)

    async def close(self) -> None:
        """Stop background work, before the Redis client is closed."""
        await self._logins.close()
        await self._users.close()

    # -- API tokens ------------------------------------------------------------------------------------------

    async def token_role(self, token: str) -> TokenRole:
        """The role of an API token (contract §1.1), read on the reserved connection.

        Raises:
            StoreDown: Redis does not answer.
        """
        return (await self._token_roles([token], self._ask_first))[0]

    async def token_roles(self, tokens: Sequence[str]) -> list[TokenRole]:
        """The roles of many API tokens: one round trip, and two more if some of them exist.

        Raises:
            StoreDown: Redis does not answer.
        """
        return await self._token_roles(tokens, self._ask)

    def is_configured(self, token: str) -> bool:
        """Whether this is the configured API token."""
        return bool(token) and _same(token, self._api_token.reveal())

    async def _token_roles(self, tokens: Sequence[str], ask: RedisCommands) -> list[TokenRole]:
        found = dict.fromkeys(tokens, TokenRole.MISSING)
        names = [token for token in found if _may_be_a_name(token)]
        if not names:
            return [found[token] for token in tokens]
        admins_key = keys.user(keys.ADMIN_LOGIN, "token_id")
        admins_token, *exist = await ask.texts(
            "MGET", admins_key, *(keys.api_token(one, "rho__id") for one in names)
        )
        existing = [token for token, exists in zip(names, exist, strict=True) if exists is not None]
        if not admins_token:  # a token that exists gets its own user's role, below
            found |= {token: TokenRole.ADMIN for token in names if self.is_configured(token)}
        if existing:
            found |= await self._roles_of_users(existing, ask)
        return [found[token] for token in tokens]

    async def _roles_of_users(self, tokens: Sequence[str], ask: RedisCommands) -> dict[str, TokenRole]:
        logins = await ask.texts("MGET", *(keys.api_token(token, "user_id") for token in tokens))
        users = await _read_users([login or "" for login in logins], ask)
        admins = [user is not None and user.admin for user in users]
        return {
            token: TokenRole.ADMIN if admin else TokenRole.OTHER
            for token, admin in zip(tokens, admins, strict=True)
        }

    def admin_token(self, user: User) -> str:
        """The API token that an admin gets at login: the admin's own, or else the configured one."""
        return user.token or self._api_token.reveal()

    # -- logins ----------------------------------------------------------------------------------------------

    async def login(self, login: str, password: str, client: str) -> User | None:
        """Check a password. None: no such user, or a wrong password; both take the same time.

        Args:
            login: the user's name.
            password: the password to check.
            client: address or network (IPv6: /64) of the client.

        Raises:
            TooManyRequests: this client had too many failures recently.
            AuthenticationBusy: too many clients log in.
            StoreDown: Redis does not answer.
        """

        async def check() -> User | None:
            return await self._checked(login, password)

        return await self._logins.attempt(f"login:{account_of(login)}", client, check)

    async def check_secret(self, account: str, good: bool, client: str) -> bool:
        """Count an attempt to guess a secret other than a user's password, within the same limits.

        Args:
            account: the account that the secret gives access to.
            good: whether the secret was right. The caller must not answer before the attempt is counted.
            client: see `login`.

        Raises: as `login`.
        """

        async def check() -> bool | None:
            return good or None

        return bool(await self._logins.attempt(f"secret:{account}", client, check))

    async def _checked(self, login: str, password: str) -> User | None:
        user = await self.user(login) if _may_be_a_name(login) else None
        configured = self._configured_admin(login, password) if user is None else None
        if not await self._matches(password, UNUSABLE_HASH if user is None else user.password_hash):
            return configured
        if user is not None and self._owns_store and user.password_hash.weak:
            password_hash = await self._hashed(password)
            fields = {"salt": password_hash.salt, "hashed_password": password_hash.hashed}
            if not await self._write(fields, login):  # the user was deleted meanwhile
                return None
            user = user._replace(password_hash=password_hash)
        return user

    async def _matches(self, password: str, password_hash: PasswordHash) -> bool:
        """See `passwords.matches`. RhoConnect's hash takes a microsecond, the gateway's own a fifth of a second."""
        if password_hash.weak and not self._owns_store:
            return passwords.matches(password, password_hash)
        return await in_hash_thread(passwords.matches, password, password_hash, strong=self._owns_store)

    def _configured_admin(self, login: str, password: str) -> User | None:
        wanted = self._admin_password.reveal() if self._admin_password is not None else ""
        if login == keys.ADMIN_LOGIN and wanted and _same(password, wanted):
            return User(login, None, True, "", PasswordHash("", _digest(wanted)))
        return None

    async def session_user(self, login: str, fingerprint: str, client: str = "") -> User | None:
        """The user of a session, if it still exists and has the same password as at its login.

        Raises:
            AuthenticationBusy: too many sessions wait to be looked up.
            StoreDown: Redis does not answer.
        """
        user = await self._users(login, client)
        if user is None and login == keys.ADMIN_LOGIN and self._admin_password:
            user = self._configured_admin(login, self._admin_password.reveal())
        return user if user is not None and _same(user.fingerprint, fingerprint) else None

    async def session_secret(self) -> bytes:
        """The key of the session cookies: made by the first process, the same in all processes.

        The key is read before it is written: a full Redis refuses any write, even one without effect. A damaged key is
        replaced, which ends all sessions: with an empty one, anyone could sign a cookie.
        """
        secret = _secret_of(await self._ask("GET", keys.SESSION_HMAC))
        if secret is None:
            made = secrets.token_bytes(_SECRET_BYTES)
            secret = _secret_of(await self._ask("EVAL", _SECRET, "1", keys.SESSION_HMAC, made.hex())) or made
        return secret

    # -- users -----------------------------------------------------------------------------------------------

    async def logins(self) -> list[str]:
        """Every login except rhoadmin, in the set's order."""
        found = await self._ask.texts("SMEMBERS", keys.APP_USERS)
        return [login for login in found if login is not None and login != keys.ADMIN_LOGIN]

    async def user(self, login: str) -> User | None:
        """One user; None if there is no such login."""
        return (await self.users([login]))[0]

    async def users(self, logins: Sequence[str]) -> list[User | None]:
        """Many users, in one round trip."""
        return await _read_users(logins, self._ask)

    async def user_or_new(self, login: str, password: str, client: str, most: int) -> User:
        """A user, created if there is none, for an unauthenticated caller: within the limits of logins.

        Args:
            login, password: of the user.
            client: as in `login`.
            most: number of users from which none is created (`limits.users`). Concurrent logins may exceed it slightly.

        Raises:
            TooManyUsers: the user does not exist, and there are `most` users.
            LoginRefused: the user is an admin that does not exist.
            RhoPushError: as `create` and `login`.
        """
        known = await self._users(login, client) if _may_be_a_name(login) else None
        if known is not None:
            return known
        if login == keys.ADMIN_LOGIN:
            raise LoginRefused(f"Unable to authenticate '{login}'")

        async def create() -> User:
            try:
                return await self._create_within(most, login, password)
            except (TooManyUsers, RecordRefused):
                # A concurrent login, perhaps in another process, may have created the user since the look-up.
                created = await self.user(login) if _may_be_a_name(login) else None
                if created is None:
                    raise
                return created

        return await self._logins.in_turn(client, create)

    async def _create_within(self, most: int, login: str, password: str) -> User:
        """Create a user unless there are `most` users. Raises TooManyUsers, and as `create`."""
        if await self._ask("SCARD", keys.APP_USERS) >= most:
            raise TooManyUsers(f"there are {most} users, the most that limits.users allows", field="login")
        return await self.create(login, password)

    async def create(self, login: str, password: str) -> User:
        """Create a user.

        Raises:
            RecordRefused: the login is invalid or exists (with RhoConnect's text), or is the admin's: a user without
                the admin's rights under that name would lock the configured admin out.
            InvalidField: a login with control characters or longer than 255 characters.
        """
        if not login:
            raise RecordRefused("Empty login", field="login")
        if LOGIN.fullmatch(login) is None or not _may_be_a_name(login):
            raise InvalidField(
                "a login must have 1 to 255 characters and no control characters", field="login"
            )
        if login == keys.ADMIN_LOGIN:
            raise _exists(login)
        password_hash = await self._hashed(password) if password else PasswordHash("", "")
        fields = {"login": login, "salt": password_hash.salt, "hashed_password": password_hash.hashed}
        written = {keys.user(login, name): text for name, text in fields.items() if text}
        names = [keys.user(login, "rho__id"), keys.APP_USERS, keys.count("user")]
        names += [keys.app("rho__id"), keys.app("name"), *written]
        if not await self._run(account_scripts.CREATE, names, [login, "application", *written.values()]):
            raise _exists(login)
        return User(login, None, False, "", password_hash)

    async def update(self, login: str, attributes: Mapping[str, Any]) -> None:
        """Change a user's email or password (`new_password`). The login cannot be changed (contract §2).

        Raises:
            NotFound: there is no such user.
            InvalidField: a value is not a text.
        """
        await self._must_exist(login)
        fields: dict[str, str] = {}
        for name in ("email", "password", "new_password"):
            value = attributes.get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise wrong_type(f"attributes.{name}", "a text", value)
            if name == "email":
                fields["email"] = value
            else:
                password_hash = await self._hashed(value) if value else PasswordHash("", "")
                fields |= {"salt": password_hash.salt, "hashed_password": password_hash.hashed}
        if fields and not await self._write(fields, login):
            raise _no_user()

    async def delete(self, login: str) -> None:
        """Delete a user with its clients, the RhoConnect Push messages that wait for them, and its API token.

        A client in the user's set that belongs to another user by now stays.

        Raises:
            NotFound: there is no such user.
            StoreDown: Redis did not answer; the deletion may be repeated unless it is done.
        """
        user = await self._must_exist(login)
        clients = await self._own_clients(login)
        await drop_waiting(self._mailbox, self._ask, clients)
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(keys.APP_USERS, login)
                pipe.delete(*(keys.user(login, field) for field in (*USER_FIELDS, "clients")))
                for client_id in clients:
                    delete_client(pipe, client_id, login)
                if user.token:
                    pipe.delete(
                        *(keys.api_token(user.token, name) for name in ("rho__id", "value", "user_id"))
                    )
                pipe.decrby(keys.count("user"), 1)
                pipe.decrby(keys.count("client"), len(clients))
                await execute_counted(pipe, {len(pipe) - 2, len(pipe) - 1})

    async def _own_clients(self, login: str) -> list[str]:
        """The clients in a user's set, except those that name another user as their owner."""
        found = await self._ask.texts("SMEMBERS", keys.user(login, "clients"))
        own: list[str] = []
        for part in slices([client_id for client_id in found if client_id is not None], LIGHT_SLICE):
            owners = await self._ask.texts("MGET", *(keys.client(client_id, "user_id") for client_id in part))
            own += [
                client_id for client_id, owner in zip(part, owners, strict=True) if owner in (None, login)
            ]
        return own

    async def _must_exist(self, login: str) -> User:
        user = await self.user(login)
        if user is None:
            raise _no_user()
        return user

    async def _hashed(self, password: str) -> PasswordHash:
        """Return the hash of a password in the form that is stored."""
        if not self._owns_store:
            return passwords.hash_for_rhoconnect(password)
        return await in_hash_thread(passwords.hash_strong, password)

    async def _write(self, fields: Mapping[str, str], login: str) -> bool:
        """Set fields of a user; False: there is no such user any more."""
        names = [keys.user(login, "rho__id"), *(keys.user(login, name) for name in fields)]
        return await self._run(account_scripts.WRITE, names, list(fields.values()))

    async def _run(self, script: Script, names: Sequence[str], words: Sequence[str]) -> bool:
        """Run a script that returns whether it has written. By EVAL and not by its digest: these changes are rare."""
        return bool(await self._ask("EVAL", script.text, str(len(names)), *names, *words))


def _no_user() -> NotFound:
    return NotFound("there is no such user", field="user_id")


def _exists(login: str) -> RecordRefused:
    return RecordRefused(f"Record already exists for '{login}'", field="login")


async def _read_users(logins: Sequence[str], ask: RedisCommands) -> list[User | None]:
    size = len(USER_FIELDS)
    found = await ask.texts("MGET", *(keys.user(login, field) for login in logins for field in USER_FIELDS))
    return [_user_of(login, found[at * size : (at + 1) * size]) for at, login in enumerate(logins)]


def _user_of(login: str, fields: Sequence[str | None]) -> User | None:
    exists, _, email, salt, hashed, admin, token = fields
    if exists is None:
        return None
    return User(login, email, admin == "1", token or "", PasswordHash(salt or "", hashed or ""))


def _secret_of(text: bytes | None) -> bytes | None:
    """The key of the session cookies in its stored form; None: there is none, or it is damaged."""
    try:
        secret = bytes.fromhex((text or b"").decode("ascii"))
    except ValueError:
        return None
    return secret if len(secret) == _SECRET_BYTES else None


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _may_be_a_name(text: str) -> bool:
    """Whether the text can be part of a key: not empty, not too long, and valid UTF-8 (a header may be invalid)."""
    return 0 < len(text) <= NAME_CHARACTERS and not _SURROGATE.search(text)
