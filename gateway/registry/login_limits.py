"""Limits on password attempts, over all processes and gateways; an attempt is counted before the password is
checked.

| counted | limit in `keys.LOGIN_WINDOW_S` | beyond it |
| --- | --- | --- |
| attempts of one client at one account | `PAIR_ATTEMPTS` | refused |
| attempts of one client at all accounts | `CLIENT_ATTEMPTS` | refused |
| attempts of all clients at one account | `ACCOUNT_ATTEMPTS` | spaced out: a client without failures comes through |

A successful attempt is not counted. Names of accounts are compared without regard to case and to Unicode's
compatible forms: another spelling gives no further attempts.
"""

import asyncio
import hashlib
import math
import time
import unicodedata
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from gateway.errors import AuthenticationBusy, StoreDown, TooManyRequests
from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.errors import redis_errors
from gateway.store.lua import CHECKS

PAIR_ATTEMPTS: Final = 10
CLIENT_ATTEMPTS: Final = 100  # many devices may share one address
ACCOUNT_ATTEMPTS: Final = 30
_LIMITS: Final = (PAIR_ATTEMPTS, CLIENT_ATTEMPTS, 0)
_RECHECK_S: Final = 0.05
_RECHECKS: Final = 100
"""Interval and number of checks of the counts while attempts of other processes are in progress."""
_ACCOUNT_CHARACTERS: Final = 1_024
_LOCAL_MAX: Final = 16_384
_REFUSES_WRITES: Final = ("OOM", "READONLY", "MISCONF", "NOREPLICAS")

# KEYS: the counts, each a hash of `tried` (attempts, those under way included) and `failed`.
# ARGV: the window in ms, then each count's limit (0: none).
# Returns the decision (0: the attempt is reserved; 1: refused; 2: wait for the attempts in progress), the ms until
# another attempt can succeed, and the attempts at the last count.
_RESERVE: Final = Script(
    CHECKS
    + """
local window = seconds(ARGV[1])
for i = 1, #KEYS do natural(ARGV[i + 1]) end
local answer, wait = 0, 0
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[i + 1])
  local found = redis.call('HMGET', key, 'tried', 'failed')
  if limit > 0 and stored(found[2]) >= limit then
    answer, wait = 1, math.max(wait, redis.call('PTTL', key), 1)
  elseif limit > 0 and answer == 0 and stored(found[1]) >= limit then
    answer = 2
  end
end
local tried = 0
if answer == 0 then
  for _, key in ipairs(KEYS) do
    tried = add(key, 'tried', 1)
    if redis.call('PTTL', key) < 0 then
      redis.call('PEXPIRE', key, window)
    end
  end
end
return {answer, wait, tried}
"""
)

# KEYS: the counts. ARGV: what is added to `tried` and to `failed`. A count that has expired is not created again: it
# would have no time to live and never expire.
_ADJUST: Final = Script(
    CHECKS
    + """
local tried, failed = whole(ARGV[1]), whole(ARGV[2])
for _, key in ipairs(KEYS) do redis.call('HLEN', key) end
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then
    add(key, 'tried', tried)
    add(key, 'failed', failed)
  end
end
"""
)


class _Reservation(IntEnum):
    RESERVED = 0
    REFUSED = 1
    WAIT = 2


class Attempt(NamedTuple):
    """A reserved attempt.

    Attributes:
        names: the counts' keys: of the pair, the client and the account.
        account_attempts: attempts at the account in this window, this one included.
        local: it is counted in this process only.
    """

    names: tuple[str, ...]
    account_attempts: int
    local: bool = False


class LoginLimits:
    """Reserves login attempts.

    Args:
        redis: stores the counts of attempts.
        clock: monotonic seconds.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._command: Callable[..., Any] = redis.execute_command  # left untyped
        self._local = _LocalCounts(clock)

    async def reserve(self, account: str, client: str) -> Attempt:
        """Count an attempt before it is made. A failed attempt stays counted: see `failed` and `release`.

        Args:
            account: see `account_of`.
            client: address or network of the client.

        Raises:
            TooManyRequests: the client has no attempt left; the error has the time until the next one.
            AuthenticationBusy: as many attempts as the client has left are in progress for too long.
            StoreDown: Redis cannot be reached.
        """
        names = tuple(
            keys.login_attempts(_digest(scope))
            for scope in (f"pair:{client}\n{account}", f"address:{client}", f"account:{account}")
        )
        for _ in range(_RECHECKS):
            answer, wait_ms, tried, local = await self._asked(names)
            if answer == _Reservation.RESERVED:
                return Attempt(names, tried, local)
            if answer == _Reservation.REFUSED:
                raise TooManyRequests("too many failed logins", retry_after_s=math.ceil(wait_ms / 1_000))
            await asyncio.sleep(_RECHECK_S)
        raise AuthenticationBusy("too many login attempts of this client are in progress")

    async def failed(self, attempt: Attempt) -> None:
        """Keep the attempt in the counts, since it failed.

        Raises:
            StoreDown: Redis cannot be reached. The attempt is counted nevertheless.
        """
        await self._adjust(attempt, 0, 1)

    async def release(self, attempt: Attempt) -> None:
        """Remove an attempt that succeeded or was not made from the counts.

        Raises:
            StoreDown: Redis cannot be reached. The attempt counts until the window ends.
        """
        await self._adjust(attempt, -1, 0)

    async def _asked(self, names: tuple[str, ...]) -> tuple[int, int, int, bool]:
        try:
            with redis_errors():
                found = await self._eval(_RESERVE, names, (keys.LOGIN_WINDOW_S * 1_000, *_LIMITS))
        except StoreDown as error:
            if not _refuses_writes(error.__cause__):
                raise
            return (*self._local.reserve(names), True)
        return (*found, False)

    async def _eval(self, script: Script, names: tuple[str, ...], words: tuple[int, ...]) -> Any:
        """Run a script. It is not loaded first as redis-py does: Redis may refuse SCRIPT to its user."""
        try:
            return await self._command("EVALSHA", script.sha, len(names), *names, *words)
        except NoScriptError:
            return await self._command("EVAL", script.text, len(names), *names, *words)

    async def _adjust(self, attempt: Attempt, tried: int, failed: int) -> None:
        if attempt.local:
            self._local.adjust(attempt.names, tried, failed)
            return
        with redis_errors():
            await self._eval(_ADJUST, attempt.names, (tried, failed))


class _AttemptCount(NamedTuple):
    tried: int
    failed: int
    end_s: float


class _LocalCounts:
    """Counts in this process while Redis is full or a replica, so that correct passwords are still accepted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[str, _AttemptCount] = {}

    def reserve(self, names: tuple[str, ...]) -> tuple[int, int, int]:
        """See `_RESERVE`."""
        now = self._clock()
        counts = [self._of(name, now) for name in names]
        limited = [(count, limit) for count, limit in zip(counts, _LIMITS, strict=True) if limit]
        waits = [count.end_s - now for count, limit in limited if count.failed >= limit]
        if waits:
            return _Reservation.REFUSED, math.ceil(max(waits) * 1_000), 0
        if any(count.tried >= limit for count, limit in limited):
            return _Reservation.WAIT, 0, 0
        for name, count in zip(names, counts, strict=True):
            self._keep(name, count._replace(tried=count.tried + 1))
        return _Reservation.RESERVED, 0, counts[-1].tried + 1

    def adjust(self, names: tuple[str, ...], tried: int, failed: int) -> None:
        """See `_ADJUST`."""
        now = self._clock()
        for name in names:
            count = self._of(name, now)
            if count.tried:
                self._keep(name, _AttemptCount(count.tried + tried, count.failed + failed, count.end_s))

    def _of(self, name: str, now: float) -> _AttemptCount:
        count = self._counts.get(name)
        return (
            count
            if count is not None and now < count.end_s
            else _AttemptCount(0, 0, now + keys.LOGIN_WINDOW_S)
        )

    def _keep(self, name: str, count: _AttemptCount) -> None:
        self._counts.pop(name, None)
        if len(self._counts) >= _LOCAL_MAX:
            del self._counts[next(iter(self._counts))]
        self._counts[name] = count


def account_of(login: str) -> str:
    """The account for which the attempts of a login are counted; all spellings of the login have the same account."""
    folded = unicodedata.normalize("NFKC", login[:_ACCOUNT_CHARACTERS]).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def _refuses_writes(cause: BaseException | None) -> bool:
    if isinstance(cause, OutOfMemoryError | ReadOnlyError):
        return True
    return isinstance(cause, ResponseError) and any(word in str(cause) for word in _REFUSES_WRITES)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
