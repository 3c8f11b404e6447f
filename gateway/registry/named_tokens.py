"""Named API tokens: beside RhoConnect's one token, each with scopes, a limit to apps and an expiry.

They are stored in the queue's Redis, by the SHA-256 of the token: a token has 256 random bits, so that its digest
cannot be reversed, and no slow hash is needed. The text of a token is returned once, when it is created.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

from gateway.errors import NameTaken, NotFound, StoreDown
from gateway.registry.scopes import API_TOKEN, Principal, Scope, require_scope
from gateway.store import keys
from gateway.store.errors import RedisCommands
from gateway.store.lua import CHECKS
from protocols.errors import InvalidField
from protocols.numbers import stored

PREFIX: Final = "rhp_"
"""First characters of every named token: secret scanners and readers recognise it."""
_RANDOM_BYTES: Final = 32
_FORM: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")  # base64url of 32 bytes, without padding
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_APP: Final = re.compile(r"[^\x00-\x20\x7f]{1,255}")
APPS_MAX: Final = 100
_SHOWN_S: Final = 253_402_300_799
"""The end of the year 9999: the last instant that a date can show."""
_NOTED_MAX: Final = 4 * keys.NAMED_TOKENS_MAX

# KEYS: the tokens, their digests by name. ARGV: most tokens, name, digest, record.
_CREATE: Final = (
    CHECKS
    + """
local most = natural(ARGV[1])
local count = redis.call('HLEN', KEYS[1])
if redis.call('HGET', KEYS[2], ARGV[2]) then return 'taken' end
if count >= most then return 'full' end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 'created'
"""
)

# KEYS: the tokens, their digests by name, their uses. ARGV: name. Returns the number of removed tokens.
_REVOKE: Final = """
local digest = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('HLEN', KEYS[1])
redis.call('HLEN', KEYS[3])
if not digest then return 0 end
redis.call('HDEL', KEYS[1], digest)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], digest)
return 1
"""

# KEYS: the tokens, their uses. ARGV: now in epoch s, seconds between two writes, then digests.
_USE: Final = (
    CHECKS
    + """
local now, pause = natural(ARGV[1]), natural(ARGV[2])
redis.call('HLEN', KEYS[2])
for at = 3, #ARGV do
    local before = stored(redis.call('HGET', KEYS[2], ARGV[at]))
    if math.abs(now - before) >= pause and redis.call('HGET', KEYS[1], ARGV[at]) then
        redis.call('HSET', KEYS[2], ARGV[at], ARGV[1])
    end
end
return 1
"""
)


class NamedToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named token as it is stored, without its text.

    Attributes:
        name: unique among the tokens of the installation.
        scopes: names of `Scope`. An unknown name, of a later version, grants nothing.
        created_at: epoch seconds.
        created_by: name of the caller that created it.
        apps: the apps to which it is limited; None: all.
        expires_at: epoch seconds from which it is invalid; None: never.
    """

    name: str
    scopes: tuple[str, ...]
    created_at: int
    created_by: str
    apps: tuple[str, ...] | None = None
    expires_at: int | None = None

    def expired(self, now_s: float) -> bool:
        """Return whether the token is no longer valid at this instant."""
        return self.expires_at is not None and now_s >= self.expires_at

    def principal(self, digest: str) -> Principal:
        """Return the caller that has this token."""
        scopes = frozenset(scope for scope in Scope if scope in self.scopes)
        return Principal(self.name, scopes, None if self.apps is None else frozenset(self.apps), digest)


class ListedToken(NamedTuple):
    """A token in a list; `last_used_at`: epoch seconds, exact to `keys.NAMED_TOKEN_USE_S`; None: never used."""

    token: NamedToken
    last_used_at: int | None


def instant_text_of_s(epoch_s: int | None) -> str | None:
    """Return an instant by RFC 3339, in UTC; None: there is none, or no date can show it."""
    if epoch_s is None or not 0 <= epoch_s <= _SHOWN_S:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z")


def has_form(token: str) -> bool:
    """Return whether a text has the form of a named token."""
    return _FORM.fullmatch(token) is not None


def digest_of(token: str) -> str:
    """Return the SHA-256 of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token(
    name: str,
    scopes: Iterable[str],
    apps: Iterable[str],
    expires_at: int | None,
    creator: Principal,
    now_s: float,
) -> NamedToken:
    """Check the properties of a new token.

    Args:
        name: 1 to 64 letters, digits, `.`, `_` and `-`.
        scopes: names of `Scope`, at least one.
        apps: the apps to which the token is limited; empty: all.
        expires_at: epoch seconds; None: never.
        creator: the caller; it must have each of the scopes.
        now_s: epoch seconds.

    Raises:
        InvalidField: a property is invalid; `field` names it.
        ScopeMissing: the creator lacks a scope of the token.
    """
    chosen, limit = tuple(dict.fromkeys(scopes)), tuple(dict.fromkeys(apps))
    if not NAME.fullmatch(name) or name == API_TOKEN.name:
        form = "1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit"
        raise InvalidField(f"name must be {form}, and not {API_TOKEN.name}", field="name")
    if not chosen or not all(scope in [*Scope] for scope in chosen):
        raise InvalidField(f"scopes must be one or more of {', '.join(Scope)}", field="scopes")
    if len(limit) > APPS_MAX or not all(_APP.fullmatch(app) for app in limit):
        raise InvalidField(f"apps must be at most {APPS_MAX} app ids without blanks", field="apps")
    if limit and Scope.ADMIN in chosen:
        raise InvalidField("a token with the scope admin cannot be limited to apps", field="apps")
    if expires_at is not None and expires_at <= now_s:
        raise InvalidField("expires_at must be in the future", field="expires_at")
    for scope in chosen:
        require_scope(creator, Scope(scope))
    return NamedToken(name, chosen, int(now_s), creator.name, limit or None, expires_at)


class NamedTokens:
    """The named tokens of an installation.

    Args:
        redis: a client of the queue's Redis, with replies as bytes.
        now: epoch seconds by the clock that all gateways share.
        clock: monotonic seconds.
    """

    def __init__(
        self, redis: Redis, now: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = RedisCommands(redis)
        self._now = now
        self._clock = clock
        self._noted: dict[str, float] = {}  # digest -> when its use was last written by this process

    async def find(self, tokens: Sequence[str]) -> list[Principal | None]:
        """Return the callers that have these tokens, in one round trip, and record the use of the valid ones.

        Args:
            tokens: texts of tokens, at least one.

        Raises:
            StoreDown: Redis does not answer.
        """
        return await self.find_digests([digest_of(token) for token in tokens])

    async def find_digests(self, digests: Sequence[str]) -> list[Principal | None]:
        """Return the callers whose tokens have these digests, and record the use of the valid ones; None: revoked,
        expired or never created. Raises as `find`."""
        records = await self._ask("HMGET", keys.NAMED_TOKENS, *digests)
        now_s = self._now()
        found = [_principal(digest, record, now_s) for digest, record in zip(digests, records, strict=True)]
        await self._note_uses([one.fingerprint for one in found if one is not None])
        return found

    async def create(self, token: NamedToken) -> str:
        """Store a token that `new_token` made, and return its text, which is stored nowhere.

        Raises:
            NameTaken: there is a token of this name, or there are `keys.NAMED_TOKENS_MAX` tokens.
            StoreDown: Redis does not answer.
        """
        text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        names = (keys.NAMED_TOKENS, keys.NAMED_TOKENS_BY_NAME)
        record = msgspec.json.encode(token).decode()
        most = str(keys.NAMED_TOKENS_MAX)
        outcome = await self._ask("EVAL", _CREATE, "2", *names, most, token.name, digest_of(text), record)
        if outcome == b"taken":
            raise NameTaken(f"there is a token named {token.name}: revoke it first", field="name")
        if outcome == b"full":
            raise NameTaken(f"there are {most} tokens: revoke one first", field="name")
        return text

    async def revoke(self, name: str) -> None:
        """Remove a token. Every worker refuses it within `gateway.http_api.token_cache.CACHE_S`.

        Raises:
            NotFound: there is no token of this name.
            StoreDown: Redis does not answer.
        """
        names = (keys.NAMED_TOKENS, keys.NAMED_TOKENS_BY_NAME, keys.NAMED_TOKENS_USED)
        if not await self._ask("EVAL", _REVOKE, "3", *names, name):
            raise NotFound(f"there is no token named {name}", field="name")

    async def all(self) -> list[ListedToken]:
        """Return all tokens, by name, expired ones too. Raises StoreDown."""
        flat = await self._ask("HGETALL", keys.NAMED_TOKENS)
        uses = await self._ask("HGETALL", keys.NAMED_TOKENS_USED)
        listed = [
            ListedToken(token, stored(uses.get(digest)) or None)
            for digest, record in flat.items()
            if (token := _read(record)) is not None
        ]
        return sorted(listed, key=lambda one: one.token.name)

    async def _note_uses(self, digests: Sequence[str]) -> None:
        """Write the last use of tokens whose use this process has not written recently.

        If Redis refuses the write, the tokens stay valid.
        """
        since = self._clock() - keys.NAMED_TOKEN_USE_S
        due = [digest for digest in digests if self._noted.get(digest, since - 1) <= since]
        if not due:
            return
        names = (keys.NAMED_TOKENS, keys.NAMED_TOKENS_USED)
        now, pause = str(int(self._now())), str(keys.NAMED_TOKEN_USE_S)
        try:
            await self._ask("EVAL", _USE, "2", *names, now, pause, *due)
        except StoreDown:
            return
        if len(self._noted) > _NOTED_MAX:
            self._noted.clear()
        self._noted |= dict.fromkeys(due, self._clock())


_decode: Final = msgspec.json.Decoder(NamedToken).decode


def _read(record: Any) -> NamedToken | None:
    """Decode a record; one that cannot be read grants nothing."""
    try:
        return None if record is None else _decode(record)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def _principal(digest: str, record: Any, now_s: float) -> Principal | None:
    token = _read(record)
    return None if token is None or token.expired(now_s) else token.principal(digest)
