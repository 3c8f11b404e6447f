"""What authorises an FCM sender: a service account that is exchanged for access tokens.

Google, "Using OAuth 2.0 for server to server applications"; the grant is RFC 7523 §2.1.
"""

from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocols.errors import CredentialRefused, InvalidCredential, NoAccessToken

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GOOGLE_URI: Final = "https://oauth2.googleapis.com/token"
ASSERTION_S: Final = 3600  # the longest that Google takes
RSA_BITS: Final = 2048
TOKEN_MAX: Final = 8_192  # Google's have at most 2,048 bytes, and a header of 64 KiB cannot be sent
LIFE_MAX_S: Final = 86_400  # Google's live an hour, or twelve where it is asked to; for ever is a mistake
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class AccessToken(msgspec.Struct, frozen=True):
    """A bearer token.

    Attributes:
        value: for `authorization: Bearer ...`.
        expires_s: epoch seconds. Renew it some minutes before.
    """

    value: str
    expires_s: float

    def __repr__(self) -> str:
        return f"AccessToken(***, expires_s={self.expires_s})"


class _File(msgspec.Struct):
    """The service account's JSON file; the fields that count."""

    type: str = ""
    project_id: str = ""
    private_key_id: str = ""
    private_key: str = ""
    client_email: str = ""
    token_uri: str = GOOGLE_URI


class ServiceAccount:
    """A service account with its key.

    Attributes:
        project_id: the project that it belongs to; the app's may be another one.
        client_email: its name.
        token_uri: where it gets access tokens.
    """

    __slots__ = ("_key", "_key_id", "client_email", "project_id", "token_uri")

    def __init__(self, file: _File, key: RSAPrivateKey) -> None:
        self.project_id = file.project_id
        self.client_email = file.client_email
        self.token_uri = file.token_uri
        self._key_id = file.private_key_id
        self._key = key

    def __repr__(self) -> str:
        return f"ServiceAccount(client_email={self.client_email!r}, project_id={self.project_id!r}, key=***)"

    @classmethod
    def from_json(cls, data: bytes | str) -> "ServiceAccount":
        """Read a service account's JSON file.

        Raises:
            InvalidCredential: it is no such file, or a field is missing or wrong.
        """
        try:
            file = msgspec.json.decode(data, type=_File)
        except (ValueError, RecursionError):
            # Without the cause, whose text may quote the file.
            raise InvalidCredential(
                "the FCM credentials are no service account's JSON", field="credentials"
            ) from None
        if file.type != "service_account":
            found = file.type[:32] or "none"
            raise InvalidCredential(
                f'the FCM credentials must have the type "service_account", not "{found}"',
                field="credentials",
            )
        for name in ("client_email", "private_key", "private_key_id"):
            if not getattr(file, name):
                raise InvalidCredential(f"the FCM credentials have no {name}", field=f"credentials.{name}")
        _check_token_uri(file.token_uri)
        return cls(file, _rsa(file.private_key))

    def assertion(self, now_s: float) -> str:
        """Sign the claim for an access token.

        Args:
            now_s: epoch seconds.
        """
        issued_s = int(now_s)
        claims = {
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": issued_s,
            "exp": issued_s + ASSERTION_S,
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id})

    def token_request(self, now_s: float) -> tuple[str, bytes]:
        """Give the URL and the form (application/x-www-form-urlencoded) that ask for an access token."""
        form = {"grant_type": _GRANT, "assertion": self.assertion(now_s)}
        return self.token_uri, urlencode(form).encode("ascii")


def _check_token_uri(uri: str) -> None:
    """The signed claim, which is worth an access token, goes there: in clear only over this machine's loopback.

    Raises:
        InvalidCredential: it is no URL, or would carry the claim in clear.
    """
    field = "credentials.token_uri"
    try:
        url = urlsplit(uri)
        host, _ = url.hostname or "", url.port
    except ValueError:
        host = ""
    if not host or url.scheme not in ("https", "http"):
        raise InvalidCredential("the FCM credentials' token_uri is no URL", field=field)
    if url.scheme == "http" and not is_loopback(host):
        raise InvalidCredential(
            f"the FCM credentials' token_uri must be https: http carries the account's signature to {host} in clear",
            field=field,
        )


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine by its very name (RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3)."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _rsa(pem: str) -> RSAPrivateKey:
    field = "credentials.private_key"
    try:
        key = serialization.load_pem_private_key(pem.encode("utf-8", "replace"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidCredential(
            "the FCM credentials' private_key is no PEM private key", field=field
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS:
        raise InvalidCredential(
            f"the FCM credentials' private_key must be RSA of {RSA_BITS} bits or more", field=field
        )
    return key


class _Answer(msgspec.Struct):
    """The token server's answer (RFC 6749 §5.1, §5.2); anything may stand in its fields."""

    access_token: Any = None
    expires_in: Any = None
    error: Any = None


# Errors by which the server says that the account or its key is not accepted (RFC 6749 §5.2).
_REFUSALS: Final = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "invalid_scope",
        "unauthorized_client",
        "invalid_request",
        "access_denied",
    }
)


def parse_token_answer(status: int, body: bytes, now_s: float = 0.0) -> AccessToken:
    """Read the token server's answer.

    Args:
        status: HTTP status.
        body: JSON.
        now_s: epoch seconds; without it `expires_s` counts from the answer.

    Raises:
        CredentialRefused: the account is not accepted; asking again is of no use.
        NoAccessToken: no token now, or an answer that is none.
    """
    answer = _read(body)
    if status == 200 and type(answer.access_token) is str and _is_header_text(answer.access_token):
        life_s = answer.expires_in
        known = type(life_s) in (int, float) and life_s > 0
        return AccessToken(
            answer.access_token, now_s + float(min(life_s, LIFE_MAX_S) if known else ASSERTION_S)
        )
    error = answer.error if type(answer.error) is str and answer.error.replace("_", "").isalnum() else ""
    if error[:64] in _REFUSALS or status in (401, 403):
        raise CredentialRefused(f"the token server refuses the service account: {error or f'HTTP {status}'}")
    raise NoAccessToken(f"the token server gave no access token: {error[:64] or f'HTTP {status}'}")


def _is_header_text(value: str) -> bool:
    """Whether a text can stand in a header: visible ASCII, and not endless."""
    return value.isascii() and value.isprintable() and " " not in value and 0 < len(value) <= TOKEN_MAX


def _read(body: bytes) -> _Answer:
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (ValueError, RecursionError):
        return _Answer()
