"""Provider token checks of a simulated APNs (Apple: "Establishing a token-based connection to APNs").

A token is a JWT signed with ES256: `kid` in its header, `iss` (the team) and `iat` (seconds) in its claims.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

MAX_AGE_S: Final = 3600
"""A token older than this is refused as expired."""

MIN_CHANGE_S: Final = 1200
"""A token may replace another on a connection only if it was issued at least this much later."""

MAX_AHEAD_S: Final = 60
"""By how much `iat` may be ahead of the local clock; Apple names no figure."""

_CACHE_MAX: Final = 1000


class SigningKey(NamedTuple):
    """A provider token signing key as Apple's account pages describe it.

    Attributes:
        key_id: ten characters, the token's `kid`.
        team_id: ten characters, the token's `iss`.
        public_key: the P-256 public key.
        topics: for a topic-specific key, the topics to which it may push; None: all of the team.
        environment: for a key limited to one environment, "production" or "sandbox"; None: both.
    """

    key_id: str
    team_id: str
    public_key: EllipticCurvePublicKey
    topics: frozenset[str] | None = None
    environment: str | None = None


class _Token(NamedTuple):
    key: SigningKey | None
    issued_s: float
    reason: str


class TokenCheck:
    """All signing keys of one simulated server, and the tokens whose signatures were verified."""

    def __init__(self, keys: Iterable[SigningKey], environment: str) -> None:
        self.environment = environment
        self._keys = {key.key_id: key for key in keys}
        self._seen: dict[str, _Token] = {}

    def add(self, key: SigningKey) -> None:
        """Register a key."""
        self._keys[key.key_id] = key
        self._seen.clear()

    def revoke(self, key_id: str) -> None:
        """Remove a key: its tokens are InvalidProviderToken from now on."""
        self._keys.pop(key_id, None)
        self._seen.clear()

    def connection(self) -> "ConnectionTokens":
        """The token state of a new connection."""
        return ConnectionTokens(self)

    def read(self, token: str) -> _Token:
        """The token's key and time of issue, or the reason why it is invalid. Each signature is verified once."""
        found = self._seen.get(token)
        if found is None:
            if len(self._seen) >= _CACHE_MAX:
                self._seen.clear()
            found = self._seen[token] = self._verify(token)
        return found

    def _verify(self, token: str) -> _Token:
        bad = _Token(None, 0.0, "InvalidProviderToken")
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key.public_key,
                algorithms=["ES256"],
                # The caller compares iat with its own clock; Apple's tokens hold neither exp nor aud
                options={
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_aud": False,
                    "require": ["iss", "iat"],
                },
            )
        except (jwt.PyJWTError, KeyError):
            return bad
        issued = claims["iat"]
        if claims["iss"] != key.team_id or not isinstance(issued, int | float):
            return bad
        if key.environment not in (None, self.environment):
            return _Token(key, issued, "BadEnvironmentKeyIdInToken")
        return _Token(key, issued, "")


class ConnectionTokens:
    """The provider tokens of one connection, which is bound to the team and key of its first valid one.

    Attributes:
        authenticated: whether a request with a valid token was posted.
    """

    def __init__(self, tokens: TokenCheck) -> None:
        self._tokens = tokens
        self._current = ""
        self._issued_s = 0.0
        self._key: SigningKey | None = None
        self._blocked_until_s = 0.0

    @property
    def authenticated(self) -> bool:
        """Whether a request with a valid token was posted."""
        return self._key is not None

    def verdict(self, authorization: str, topic: str, now_s: float) -> str:
        """Judge the authorization header of a request: a reason, or "" if it may push."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "MissingProviderToken"
        if now_s < self._blocked_until_s:
            return "TooManyProviderTokenUpdates"
        key, issued_s, reason = self._tokens.read(token)
        if reason or key is None:
            return reason
        return self._age(issued_s, now_s) or self._change(token, key, issued_s, now_s) or _topic(key, topic)

    @staticmethod
    def _age(issued_s: float, now_s: float) -> str:
        if now_s - issued_s > MAX_AGE_S:
            return "ExpiredProviderToken"
        return "InvalidProviderToken" if issued_s - now_s > MAX_AHEAD_S else ""

    def _change(self, token: str, key: SigningKey, issued_s: float, now_s: float) -> str:
        if token == self._current:
            return ""
        if self._key is not None and self._key.team_id != key.team_id:
            return "InvalidProviderToken"  # a connection is bound to the team of its first push
        if self._key is not None and self._key.key_id != key.key_id and (self._key.topics or key.topics):
            return "UnrelatedKeyIdInToken"  # topic-specific keys may not be mixed on a connection
        if self._current and abs(issued_s - self._issued_s) < MIN_CHANGE_S:
            # The connection is useless until enough time has passed. The measure is iat: the age of a connection at
            # the expiry of a shared token does not show how often the provider makes tokens.
            self._blocked_until_s = now_s + MIN_CHANGE_S
            return "TooManyProviderTokenUpdates"
        self._current, self._issued_s, self._key = token, issued_s, key
        return ""


def _topic(key: SigningKey, topic: str) -> str:
    return "TopicDisallowed" if key.topics is not None and topic not in key.topics else ""
