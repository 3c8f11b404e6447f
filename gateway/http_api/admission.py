"""Admission of one ping: the checks shared by the fast path and the aiohttp route."""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.delivery.addressee_check import check_addressees
from gateway.errors import TooManyRequests
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.token_cache import TokenCache, TokenGrant, principal_of
from gateway.queue.append_batch import IdempotencyKey
from gateway.registry.accounts import TokenRole
from gateway.registry.scopes import Scope, require_scope
from protocols.errors import BodyTooLarge, InvalidField
from protocols.ping.model import HTTP, Ping
from protocols.ping.parse import Submission

_valid_key: Final = re.compile(r"[\x21-\x7e]{1,255}").fullmatch
LATE: Final = "the body was not complete within its time limit"
_KEY_HEADER: Final = "Idempotency-Key"
_LINE_KEY: Final = "idempotency_key"
_ADMIN: Final = TokenRole.ADMIN  # the look-up of an enum's member costs a fraction of a microsecond

BROADCAST_OVER: Final = 10_000
"""Users of a ping beyond which its caller needs the scope `broadcast`."""


class RequestRate:
    """A token bucket with a capacity of one second: `per_s` requests per second, and as many at once."""

    def __init__(self, per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = max(1.0, per_s or 0.0)
        self._since = clock()

    def take(self) -> bool:
        """Take one token; returns False if the bucket is empty."""
        if self._per_s is None:
            return True
        now = self._clock()
        self._left = min(max(1.0, self._per_s), self._left + (now - self._since) * self._per_s)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class LineKeys:
    """Digests of the idempotency keys of one bulk request's lines, in the scopes of `PingAdmission.idempotency_key`.

    Args:
        token: the caller's API token.
    """

    def __init__(self, token: str) -> None:
        self._token = hashlib.sha256(f"{token}\n".encode("utf-8", "surrogatepass"))

    def digest(self, key: object, line: bytes) -> IdempotencyKey:
        """Return the key of a line; the digest of its body covers the token, the key and the line's bytes.

        Raises:
            InvalidField: the key is not 1 to 255 visible ASCII characters.
        """
        if type(key) is not str or _valid_key(key) is None:
            raise InvalidField(f"{_LINE_KEY} must be 1 to 255 visible ASCII characters", field=_LINE_KEY)
        digest = self._token.copy()
        digest.update(key.encode())
        scope = digest.digest()
        digest.update(line.strip())  # costs less than a second digest
        return IdempotencyKey(scope, digest.digest())


class PingAdmission:
    """Decides whether a ping may be queued."""

    def __init__(self, services: Dependencies, tokens: TokenCache) -> None:
        self._services = services
        self.tokens = tokens
        self.accepted = services.metrics.pings_accepted(HTTP)
        self.apply_settings()

    def apply_settings(self) -> None:
        """Apply the limits of new settings."""
        limits = self._services.settings.limits
        self._users_max = limits.users_per_ping
        per_s = limits.requests_per_s
        self._limited = per_s is not None
        self._rate = RequestRate(None if per_s is None else per_s / self._services.workers)

    def admit(self, submission: Submission, grant: TokenGrant) -> Submission:
        """Check the conditions of a parsed ping beyond its own form.

        Args:
            submission: the parsed ping.
            grant: what the caller's token grants.

        Returns:
            The submission with the caller's limit to apps: the ping that may be queued.

        Raises:
            ApiTokenRefused: the token is neither an admin's nor a named one.
            ScopeMissing: the token lacks the scope that the ping needs (`needed_scope`).
            BodyTooLarge: more users, devices and tokens than `limits.users_per_ping`, or too many beside `to`.
            InvalidField: `to` names a provider that is not installed.
            TooManyRequests: the rate exceeds `limits.requests_per_s`.
        """
        if grant is not _ADMIN:
            submission = _limited(submission, grant)
        ping = submission.ping
        if len(ping.users) > self._users_max:
            raise BodyTooLarge(f"a ping may name at most {self._users_max} users", field="user_id")
        if ping.to is not None:
            check_addressees(ping.to, len(ping.users), self._users_max)
        if self._limited and not self._rate.take():
            raise TooManyRequests("more pings than limits.requests_per_s allows")
        return submission

    def idempotency_key(self, key: str, header: str, submission: Submission, body: bytes) -> IdempotencyKey:
        """Digest an Idempotency-Key: the scope is the key and the caller's token; the body is the whole body.

        Raises:
            InvalidField: the key is not 1 to 255 visible ASCII characters.
        """
        if _valid_key(key) is None:
            raise InvalidField(f"{_KEY_HEADER} must be 1 to 255 visible ASCII characters", field=_KEY_HEADER)
        token = header or submission.api_token
        scope = hashlib.sha256(f"{token}\n{key}".encode("utf-8", "surrogatepass")).digest()
        return IdempotencyKey(scope, hashlib.sha256(body).digest())


def needed_scope(ping: Ping) -> Scope:
    """Return the scope that the sender of a ping needs."""
    recipients, to = len(ping.users), ping.to
    if to is not None:
        recipients += len(to.devices) + len(to.tokens)
    is_broadcast = recipients > BROADCAST_OVER or (to is not None and to.all_users)
    return Scope.BROADCAST if is_broadcast else Scope.PING


def _limited(submission: Submission, grant: TokenGrant) -> Submission:
    """Check the scope of a caller, and apply its limit to apps. Raises as `PingAdmission.admit`."""
    caller = principal_of(grant)
    require_scope(caller, needed_scope(submission.ping) if submission.explain is None else Scope.READ)
    if caller.apps is None:
        return submission
    ping = msgspec.structs.replace(submission.ping, apps=tuple(sorted(caller.apps)))
    return msgspec.structs.replace(submission, ping=ping)
