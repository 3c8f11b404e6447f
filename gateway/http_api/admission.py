"""Admission of one ping: the checks shared by the fast path and the aiohttp route."""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Final

from gateway.delivery.addressee_check import check_addressees
from gateway.errors import TooManyRequests
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.token_cache import TokenCache, require_admin
from gateway.queue.producer import IdempotencyKey
from gateway.registry.accounts import TokenRole
from protocols.errors import BodyTooLarge, InvalidField
from protocols.ping.model import HTTP
from protocols.ping.parse import Submission

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
LATE: Final = "the body was not complete within its time limit"
_KEY_HEADER: Final = "Idempotency-Key"
_LINE_KEY: Final = "idempotency_key"


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
        """Return the key of a line; the digest of its body covers the line's bytes.

        Raises:
            InvalidField: the key is not 1 to 255 visible ASCII characters.
        """
        if type(key) is not str or _KEY.fullmatch(key) is None:
            raise InvalidField(f"{_LINE_KEY} must be 1 to 255 visible ASCII characters", field=_LINE_KEY)
        scope = self._token.copy()
        scope.update(key.encode())
        return IdempotencyKey(scope.digest(), hashlib.sha256(line.strip()).digest())


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

    def admit(self, submission: Submission, role: TokenRole) -> None:
        """Check the conditions of a parsed ping beyond its own form.

        Raises:
            ApiTokenRefused: the token is not an admin's.
            BodyTooLarge: more users, devices and tokens than `limits.users_per_ping`, or too many beside `to`.
            InvalidField: `to` names a provider that is not installed.
            TooManyRequests: the rate exceeds `limits.requests_per_s`.
        """
        if role is not TokenRole.ADMIN:
            require_admin(role)
        ping = submission.ping
        if len(ping.users) > self._users_max:
            raise BodyTooLarge(f"a ping may name at most {self._users_max} users", field="user_id")
        if ping.to is not None:
            check_addressees(ping.to, len(ping.users), self._users_max)
        if self._limited and not self._rate.take():
            raise TooManyRequests("more pings than limits.requests_per_s allows")

    def idempotency_key(self, key: str, header: str, submission: Submission, body: bytes) -> IdempotencyKey:
        """Digest an Idempotency-Key: the scope is the key and the caller's token; the body is the whole body.

        Raises:
            InvalidField: the key is not 1 to 255 visible ASCII characters.
        """
        if _KEY.fullmatch(key) is None:
            raise InvalidField(f"{_KEY_HEADER} must be 1 to 255 visible ASCII characters", field=_KEY_HEADER)
        token = header or submission.api_token
        scope = hashlib.sha256(f"{token}\n{key}".encode("utf-8", "surrogatepass")).digest()
        return IdempotencyKey(scope, hashlib.sha256(body).digest())
