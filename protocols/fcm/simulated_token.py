"""Simulated Google token endpoint, which exchanges service-account assertions for access tokens.

Source: Google, "Using OAuth 2.0 for Server to Server Applications" (OAUTH); RFC 7523 for the grant; RFC 6749 §5.2
for the errors.
"""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocols.simulation.record import text_of

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES: Final = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
"""Scopes that permit sending messages."""

IAM_SCOPE: Final = "https://www.googleapis.com/auth/iam"
"""Scope that permits impersonating service accounts, and no messages."""

GOOGLE_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""The `aud` that Google's own client library writes, whatever the key file's token_uri is."""

ASSERTION_MAX_S: Final = 3600
"""Longest lifetime of an assertion, exp - iat (OAUTH)."""

SKEW_S: Final = 300
"""By how much `iat` may be ahead of the local clock; OAUTH names no figure."""

_TOKENS_MAX: Final = 10_000


class Account(NamedTuple):
    """A service account as Google stores it.

    Attributes:
        email: its `client_email`, the assertion's `iss`.
        key_id: its `private_key_id`, the assertion's `kid`.
        public_key: the RSA public key.
        project_id: the project for which it may send.
    """

    email: str
    key_id: str
    public_key: RSAPublicKey
    project_id: str


class TokenAnswer(NamedTuple):
    """The endpoint's response: HTTP status and JSON body."""

    status: int
    body: bytes


class Grant(NamedTuple):
    """The permissions of an access token."""

    project_id: str
    expires_s: float


class AccessTokens:
    """The token endpoint, and the access tokens that it has issued.

    Args:
        accounts: the accepted service accounts.
        secret: random bytes from which token values are made.
        life_s: lifetime of an access token.

    Attributes:
        audiences: `aud` values that mean this endpoint; its own addresses are added once they are known.
        issued: number of issued tokens.
    """

    def __init__(self, accounts: Iterable[Account], *, secret: bytes, life_s: int = 3600) -> None:
        self.life_s = life_s
        self.audiences = {GOOGLE_AUDIENCE}
        self.issued = 0
        self._accounts = {account.key_id: account for account in accounts}
        self._secret = secret
        self._grants: dict[str, Grant] = {}

    def add(self, account: Account) -> None:
        """Register a service account."""
        self._accounts[account.key_id] = account

    def find(self, token: str, now_s: float) -> Grant | None:
        """The permissions of a token; None if it is unknown or expired."""
        grant = self._grants.get(token)
        return grant if grant is not None and now_s < grant.expires_s else None

    def exchange(self, body: bytes, now_s: float) -> TokenAnswer:
        """Answer one POST to the token endpoint, a form with `grant_type` and `assertion`."""
        form = parse_qs(body.decode("latin-1"))
        if form.get("grant_type") != [GRANT]:
            return _refuse(
                "unsupported_grant_type", "Invalid grant_type: " + ",".join(form.get("grant_type", []))
            )
        account, problem, may_send = self._verify(form.get("assertion", [""])[0], now_s)
        if account is None:
            return _refuse("invalid_grant", problem)
        token = self.issue_to(account.email, account.project_id if may_send else "", now_s)
        answer = {"access_token": token, "expires_in": max(self.life_s - 1, 0), "token_type": "Bearer"}
        return TokenAnswer(200, orjson.dumps(answer))

    def issue(self, account: Account, now_s: float) -> str:
        """Issue an access token without an assertion."""
        return self.issue_to(account.email, account.project_id, now_s)

    def issue_to(self, name: str, project_id: str, now_s: float) -> str:
        """Issue an access token to a named identity.

        Args:
            name: of an account or another identity.
            project_id: the project for which the token may send; "": none.
            now_s: epoch seconds.
        """
        if len(self._grants) >= _TOKENS_MAX:
            self._grants.clear()
        self.issued += 1
        seed = f"{name} {self.issued}".encode()
        token = "ya29.c." + hmac.new(self._secret, seed, hashlib.sha256).hexdigest()
        self._grants[token] = Grant(project_id, now_s + self.life_s)
        return token

    def _verify(self, assertion: str, now_s: float) -> tuple[Account | None, str, bool]:
        """The account, or the error of the assertion, and whether it requests the scope for sending."""
        try:
            account = self._accounts[jwt.get_unverified_header(assertion)["kid"]]
            claims = jwt.decode(
                assertion,
                account.public_key,
                algorithms=["RS256"],
                # The claims are compared below, with the caller's clock
                options={
                    "verify_iat": False,
                    "verify_exp": False,
                    "verify_aud": False,
                    "require": ["iss", "aud", "iat", "exp", "scope"],
                },
            )
        except (jwt.PyJWTError, KeyError):
            return None, "Invalid JWT Signature.", False
        problem = self._problem(claims, account, now_s)
        return None if problem else account, problem, bool(SCOPES & set(text_of(claims["scope"]).split()))

    def _problem(self, claims: dict[str, Any], account: Account, now_s: float) -> str:
        issued, expires = claims["iat"], claims["exp"]
        if claims["iss"] != account.email:
            return "Invalid grant: account not found"
        if claims["aud"] not in self.audiences:
            return "Invalid JWT: Failed audience check."
        if not {*SCOPES, IAM_SCOPE} & set(text_of(claims["scope"]).split()):
            return "Invalid OAuth scope: none that may send messages."
        if expires <= now_s or issued > now_s + SKEW_S or not 0 < expires - issued <= ASSERTION_MAX_S:
            return (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim."
            )
        return ""


def _refuse(error: str, description: str) -> TokenAnswer:
    return TokenAnswer(400, orjson.dumps({"error": error, "error_description": description}))
