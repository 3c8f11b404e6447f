"""Credentials of an FCM sender: a Google credential that is exchanged for access tokens.

A service account with a key signs its own requests: Google, "Using OAuth 2.0 for server to server applications"; the
grant is RFC 7523 §2.1. For organisations that forbid such keys there are other kinds (`KINDS`), which name the
source of a token: Google, "How Application Default Credentials works" and AIP-4110 to AIP-4117. This module checks
their content; google-auth fetches the tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocols.credential_text import control_character, decoded, json_object, private_key
from protocols.errors import CredentialRefused, InvalidCredential, NoAccessToken
from protocols.hosts import is_loopback

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GOOGLE_URI: Final = "https://oauth2.googleapis.com/token"
ASSERTION_S: Final = 3600
"""Longest lifetime of an assertion that Google accepts."""
RSA_BITS: Final = 2048
TOKEN_MAX: Final = 8_192
"""Google's tokens have at most 2,048 bytes, and a header of 64 KiB cannot be sent."""
LIFE_MAX_S: Final = 86_400
"""Google's tokens are valid for an hour, or twelve on request; an unlimited lifetime is a mistake."""
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class AccessToken(msgspec.Struct, frozen=True):
    """A bearer token.

    Attributes:
        value: for `authorization: Bearer ...`.
        expires_s: epoch seconds. It should be refreshed some minutes earlier.
    """

    value: str
    expires_s: float

    def __repr__(self) -> str:
        return f"AccessToken(***, expires_s={self.expires_s})"


METADATA: Final = "metadata"
"""Value of a credential setting for which the metadata server of the machine at Google provides the tokens."""
SERVICE_ACCOUNT: Final = "service_account"
IMPERSONATED: Final = "impersonated_service_account"
EXTERNAL: Final = "external_account"

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    # the field `type` of the JSON -> the fields that google-auth cannot do without
    SERVICE_ACCOUNT: ("client_email", "private_key", "private_key_id"),  # AIP-4112
    "authorized_user": ("client_id", "client_secret", "refresh_token"),  # AIP-4113
    EXTERNAL: ("audience", "subject_token_type", "token_url", "credential_source"),  # AIP-4117
    "external_account_authorized_user": ("client_id", "client_secret", "refresh_token", "token_url"),
    IMPERSONATED: ("service_account_impersonation_url", "source_credentials"),
}
_SOURCE_URLS: Final = frozenset(
    {"url", "region_url", "regional_cred_verification_url", "imdsv2_session_token_url"}
)
_SOURCES: Final = (SERVICE_ACCOUNT, "authorized_user", "external_account_authorized_user")
"""Kinds from which impersonation is supported, as gcloud writes them."""
_OBJECTS: Final = frozenset({"credential_source", "source_credentials"})
_URLS: Final = (
    "token_uri",
    "token_url",
    "token_info_url",
    "service_account_impersonation_url",
    "revoke_url",
)
_TEXTS: Final = frozenset(
    {*_URLS, *(name for names in KINDS.values() for name in names if name not in _OBJECTS)}
    | {"project_id", "quota_project_id", "universe_domain", "workforce_pool_user_project", "client_id"}
)
_GENERATE: Final = ":generateAccessToken"


class GoogleCredential:
    """A credential of any kind, as its JSON describes it.

    Attributes:
        kind: one of `KINDS`, or `METADATA`.
        info: the JSON's fields, checked.
        project_id: the project that the credential names; "" if it names none.
        account: the authorised identity, as a text for an operator.
        token_uris: URLs of the token servers; empty if the JSON does not name them.
    """

    __slots__ = ("account", "info", "kind", "project_id", "token_uris")

    def __init__(self, kind: str, info: Mapping[str, Any]) -> None:
        self.kind = kind
        self.info = info
        email = _impersonated(info) or info.get("client_email") or ""
        self.project_id: str = (
            info.get("project_id") or _project_of(email) or info.get("quota_project_id") or ""
        )
        self.account = f"service account {email}" if email else _WORDS.get(kind, kind)
        self.token_uris = tuple(dict.fromkeys(_token_uris(info)))

    def __repr__(self) -> str:
        return f"GoogleCredential({self.kind!r}, {self.account!r}, project_id={self.project_id!r}, ***)"

    @classmethod
    def read(cls, data: bytes | str, kinds: Sequence[str] = (*KINDS, METADATA)) -> "GoogleCredential":
        """Parse the JSON of a credential, or the word `METADATA`.

        Args:
            data: the text.
            kinds: the accepted kinds.

        Raises:
            InvalidCredential: the text is not a credential of such a kind, or a field is missing or wrong.
        """
        if METADATA in kinds and data.strip() in (METADATA, METADATA.encode()):
            return cls(METADATA, {})
        info = json_object(data)
        if info is None:
            # The cause is not chained: its text may quote the file.
            raise InvalidCredential(
                "the FCM credentials must be the JSON of a service account or of another Google credential"
                + _why_unreadable(data),
                field="credentials",
            )
        checked = _checked(info, [kind for kind in kinds if kind != METADATA])
        return cls(checked["type"], checked)


def _why_unreadable(data: bytes | str) -> str:
    """The probable reason why a text is not such JSON, and the remedy. It quotes nothing of the text."""
    text = decoded(data)
    if not text:
        return "; the text is empty"
    if text.lstrip("'").startswith("{"):
        return "; the text begins as JSON, but is cut off or altered: copy the whole file again"
    if text.strip("'\"").lower() == METADATA:
        return f'; for the metadata server write the word "{METADATA}", in lower case and without quotes'
    return ""


_WORDS: Final = {
    METADATA: "the service account of the metadata server",
    "authorized_user": "a user's account",
    EXTERNAL: "an external account (workload identity)",
    "external_account_authorized_user": "an external user's account",
}


def _checked(
    info: Mapping[str, Any], kinds: Sequence[str], field_path: str = "credentials"
) -> dict[str, Any]:
    """The fields of a credential of an accepted kind.

    Raises:
        InvalidCredential: a field is missing or wrong.
    """
    kind = info.get("type")
    kind = kind.strip() if isinstance(kind, str) else ""
    if kind not in kinds:
        found = kind[:32] if kind.replace("_", "").isalnum() else "none"
        wanted = " or ".join(f'"{name}"' for name in kinds)
        raise InvalidCredential(
            f'the FCM {field_path} must have the type {wanted}, not "{found}"', field=field_path
        )
    checked = {name: _field(name, value, f"{field_path}.{name}") for name, value in info.items()}
    for name in KINDS[kind]:
        if not checked.get(name) or (name in _OBJECTS and not isinstance(checked[name], dict)):
            raise InvalidCredential(f"the FCM {field_path} have no {name}", field=f"{field_path}.{name}")
    for name in _URLS:
        if checked.get(name) is not None:
            check_token_uri(checked[name], name, field_path)
    if checked.get("service_account_impersonation_url") and not _impersonated(checked):
        raise InvalidCredential(
            f"the FCM {field_path}' service_account_impersonation_url must name a service account",
            field=f"{field_path}.service_account_impersonation_url",
        )
    if kind == IMPERSONATED:
        _check_impersonation(checked, field_path)
    elif kind == EXTERNAL:
        _check_source(checked["credential_source"], f"{field_path}.credential_source")
    return checked


def _check_source(source: Mapping[str, Any], field_path: str) -> None:
    """Check the locations in an external account's source: google-auth opens any file and sends to any URL.

    Its URLs may be without TLS, since the identity services of machines are (AIP-4117).
    """
    for name, value in source.items():
        if name != "file" and name not in _SOURCE_URLS:
            continue
        if not isinstance(value, str):
            raise InvalidCredential(
                f"the FCM {field_path}' {name} must be a text", field=f"{field_path}.{name}"
            )
        if name in _SOURCE_URLS:
            # Only AWS fills in a region (AIP-4117).
            _host_of(value.replace("{region}", "region"), name, field_path)


def _check_impersonation(info: dict[str, Any], field_path: str) -> None:
    info["source_credentials"] = _checked(
        info["source_credentials"], _SOURCES, f"{field_path}.source_credentials"
    )
    delegates = info.get("delegates") or []
    if not isinstance(delegates, list) or not all(isinstance(one, str) for one in delegates):
        raise InvalidCredential(
            f"the FCM {field_path}' delegates must be a list", field=f"{field_path}.delegates"
        )


def _field(name: str, value: Any, field: str) -> Any:
    """The value of a field; surrounding white space of a text is removed.

    Raises:
        InvalidCredential: a text holds characters that are not allowed in a header or URL.
    """
    if not isinstance(value, str):
        if name in _TEXTS and value is not None:
            raise InvalidCredential(
                f"the FCM credentials are not valid: {name} must be a text", field="credentials"
            )
        return value
    text = value.strip()
    character = control_character(text, lines=name == "private_key")
    if character is not None:
        raise InvalidCredential(
            f"the FCM credentials' {name[:64]!r} holds the control character {character}", field=field
        )
    return text


def _impersonated(info: Mapping[str, Any]) -> str:
    """The service account in a URL of the IAM Credentials API; "": there is none."""
    url = info.get("service_account_impersonation_url")
    if not isinstance(url, str) or not url.endswith(_GENERATE):
        return ""
    return url.removesuffix(_GENERATE).rpartition("/")[2]


def _project_of(email: str) -> str:
    """The project in a service account's name, `NAME@PROJECT.iam.gserviceaccount.com`."""
    domain = email.partition("@")[2]
    project = domain.removesuffix(".iam.gserviceaccount.com")
    return project if project != domain else ""


def _token_uris(info: Mapping[str, Any]) -> Iterator[str]:
    source = info.get("source_credentials")
    if isinstance(source, Mapping):
        yield from _token_uris(source)
    elif info:
        yield info.get("token_url") or info.get("token_uri") or GOOGLE_URI
    if url := info.get("service_account_impersonation_url"):
        yield url


class ServiceAccount:
    """A service account with its key.

    Attributes:
        project_id: the project to which it belongs; the app's may be another one.
        client_email: its name.
        token_uri: the URL from which it gets access tokens.
    """

    __slots__ = ("_key", "_key_id", "client_email", "project_id", "token_uri")

    def __init__(self, info: Mapping[str, Any]) -> None:
        self.project_id: str = info.get("project_id") or ""
        self.client_email: str = info["client_email"]
        self.token_uri: str = info.get("token_uri") or GOOGLE_URI
        self._key_id: str = info["private_key_id"]
        self._key = _rsa(info["private_key"])

    def __repr__(self) -> str:
        return f"ServiceAccount(client_email={self.client_email!r}, project_id={self.project_id!r}, key=***)"

    @classmethod
    def from_json(cls, data: bytes | str) -> "ServiceAccount":
        """Parse a service account's JSON file.

        Raises:
            InvalidCredential: the file is not a service account, or a field is missing or wrong.
        """
        return cls(GoogleCredential.read(data, [SERVICE_ACCOUNT]).info)

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
        """The URL and the form (application/x-www-form-urlencoded) of a request for an access token."""
        form = {"grant_type": _GRANT, "assertion": self.assertion(now_s)}
        return self.token_uri, urlencode(form).encode("ascii")


def check_token_uri(uri: Any, name: str = "token_uri", field_path: str = "credentials") -> None:
    """Check a URL to which secrets are sent: without TLS only over this machine's loopback.

    Raises:
        InvalidCredential: the text is not a URL, or the secret would be sent without TLS.
    """
    scheme, host = _host_of(uri, name, field_path)
    if scheme == "http" and not is_loopback(host):
        raise InvalidCredential(
            f"the FCM {field_path}' {name} must be https: http would send the signature to {host} unencrypted",
            field=f"{field_path}.{name}",
        )


def _host_of(uri: Any, name: str, field_path: str) -> tuple[str, str]:
    """Return scheme and host of an http or https URL.

    Raises:
        InvalidCredential: the text is not such a URL, or no server can have its host or port.
    """
    try:
        url = urlsplit(uri) if isinstance(uri, str) else urlsplit("")
        scheme, host = url.scheme, url.hostname or ""
        good = url.port != 0 and not any(character.isspace() for character in uri)
        if ":" not in host:
            host.encode("idna")  # UnicodeError: an empty label, or one of more than 63 characters
    except (TypeError, ValueError):
        good = False
    if not good or not host or scheme not in ("https", "http"):
        raise InvalidCredential(f"the FCM {field_path}' {name} must be a URL", field=f"{field_path}.{name}")
    return scheme, host


@lru_cache(maxsize=4)  # OpenSSL checks a key for some 50 ms, and a process reads the same key several times
def _rsa(pem: str) -> RSAPrivateKey:
    field = "credentials.private_key"
    try:
        key = serialization.load_pem_private_key(private_key(pem), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidCredential(
            "the FCM credentials' private_key must be a PEM private key", field=field
        ) from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS:
        raise InvalidCredential(
            f"the FCM credentials' private_key must be RSA of {RSA_BITS} bits or more", field=field
        )
    return key


class _TokenResponse(msgspec.Struct):
    """The token server's response (RFC 6749 §5.1, §5.2). Its fields may have any type."""

    access_token: Any = None
    expires_in: Any = None
    error: Any = None


# Errors of a server that does not accept the account or its key (RFC 6749 §5.2).
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


def parse_token_response(status: int, body: bytes, now_s: float = 0.0) -> AccessToken:
    """Parse the token server's response.

    Args:
        status: HTTP status.
        body: JSON.
        now_s: epoch seconds; without it `expires_s` is relative to the response.

    Raises:
        CredentialRefused: the account is not accepted; another request would be refused too.
        NoAccessToken: no token at present, or an invalid response.
    """
    answer = _read(body)
    if status == 200 and type(answer.access_token) is str and _is_header_text(answer.access_token):
        return AccessToken(answer.access_token, now_s + _life_s(answer.expires_in))
    error = answer.error if type(answer.error) is str and answer.error.replace("_", "").isalnum() else ""
    if error[:64] in _REFUSALS or status in (401, 403):
        raise CredentialRefused(f"the token server refuses the service account: {error or f'HTTP {status}'}")
    raise NoAccessToken(f"the token server returned no access token: {error[:64] or f'HTTP {status}'}")


def fetched_token(value: Any, life_s: Any) -> AccessToken:
    """A token that a library has fetched; `expires_s` is relative to now.

    Raises:
        NoAccessToken: the value is not a token.
    """
    if type(value) is not str or not _is_header_text(value):
        raise NoAccessToken("the token server returned no access token")
    return AccessToken(value, _life_s(life_s))


def _life_s(life_s: Any) -> float:
    """Lifetime of a token in seconds; an hour if the response does not contain it."""
    known = type(life_s) in (int, float) and life_s > 0
    return float(min(life_s, LIFE_MAX_S) if known else ASSERTION_S)


def _is_header_text(value: str) -> bool:
    """Whether a text is allowed in a header: visible ASCII, of limited length."""
    return value.isascii() and value.isprintable() and " " not in value and 0 < len(value) <= TOKEN_MAX


def _read(body: bytes) -> _TokenResponse:
    try:
        return msgspec.json.decode(body, type=_TokenResponse)
    except (ValueError, RecursionError):
        return _TokenResponse()
