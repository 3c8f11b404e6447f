"""Simulated Google endpoints that issue access tokens to credentials without a key of their own.

| endpoint | source |
| --- | --- |
| Security Token Service, `POST /v1/token` | Google, REST reference of `sts.googleapis.com`; RFC 8693 |
| IAM Credentials, `POST /v1/projects/-/serviceAccounts/NAME:generateAccessToken` | Google, REST reference of the API |
| a user's refresh token, `POST /token` | RFC 6749 §6 |
| metadata server, `GET /computeMetadata/v1/...` | Google, "View and query VM metadata" |

Google's real endpoints have separate hosts. Where Google does not define a response, this simulator chooses one.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import orjson

from protocols.fcm.simulated_token import IAM_SCOPE, SCOPES, AccessTokens, TokenAnswer
from protocols.simulation.record import text_of

STS_PATH: Final = "/v1/token"
METADATA_PATH: Final = "/computeMetadata/v1/"
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ISSUED: Final = "urn:ietf:params:oauth:token-type:access_token"
_GENERATE: Final = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):generateAccessToken")
_LIFETIME: Final = re.compile(r"(\d{1,6})s")
_LIFE_MAX_S: Final = 3600


def gives_tokens(path: str) -> bool:
    """Whether a path belongs to one of these endpoints."""
    plain = path.partition("?")[0]
    return plain == STS_PATH or plain.startswith(METADATA_PATH) or _GENERATE.fullmatch(plain) is not None


class Workload(NamedTuple):
    """A workload outside Google with a token of its own identity provider.

    Attributes:
        audience: the workload identity pool's provider.
        project_id: the project for which it may send by itself; "": none, it must impersonate.
    """

    audience: str
    project_id: str = ""


class GoogleUser(NamedTuple):
    """A person who has authorised an OAuth client."""

    client_id: str
    client_secret: str
    project_id: str


class GoogleEndpoints:
    """The identities that may have access tokens, besides service accounts with keys.

    Attributes:
        workloads: by subject token.
        users: by refresh token.
        accounts: service accounts that may be impersonated -> the project of each.
        machine: the service account of the metadata server, as name and project; None: there is no such server.
    """

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens
        self.workloads: dict[str, Workload] = {}
        self.users: dict[str, GoogleUser] = {}
        self.accounts: dict[str, str] = {}
        self.machine: tuple[str, str] | None = None

    def answer(self, path: str, headers: Mapping[str, str], body: bytes, now_s: float) -> TokenAnswer | None:
        """Answer a request; None: it is for none of these endpoints.

        Args:
            path: with its query.
            headers: names in lower case.
            body: of the request.
            now_s: epoch seconds.
        """
        plain = path.partition("?")[0]
        if plain == STS_PATH:
            return self._exchange(parse_qs(body.decode("latin-1")), now_s)
        if found := _GENERATE.fullmatch(plain):
            return self._generate(found[1].replace("%40", "@"), headers, body, now_s)
        if plain.startswith(METADATA_PATH) and self.machine is not None:
            return self._metadata(plain.removeprefix(METADATA_PATH), headers, now_s)
        return None

    def refresh(self, form: Mapping[str, list[str]], now_s: float) -> TokenAnswer:
        """Answer a form with a refresh token."""
        user = self.users.get(_one(form, "refresh_token"))
        if user is None or (_one(form, "client_id"), _one(form, "client_secret")) != user[:2]:
            return _refuse(400, "invalid_grant", "Bad Request")
        return self._token(_one(form, "client_id"), user.project_id, now_s)

    def _exchange(self, form: Mapping[str, list[str]], now_s: float) -> TokenAnswer:
        if _one(form, "grant_type") != _EXCHANGE:
            return _refuse(400, "unsupported_grant_type", "Invalid grant_type")
        workload = self.workloads.get(_one(form, "subject_token"))
        if workload is None or workload.audience != _one(form, "audience"):
            return _refuse(
                400, "invalid_grant", "The given credential is rejected by the attribute condition."
            )
        scopes = set(_one(form, "scope").split())
        if not {*SCOPES, IAM_SCOPE} & scopes:
            return _refuse(400, "invalid_scope", "Invalid OAuth scope: none that may send messages.")
        more = {"issued_token_type": _ISSUED}
        project_id = workload.project_id if SCOPES & scopes else ""
        return self._token(workload.audience, project_id, now_s, more)

    def _generate(self, name: str, headers: Mapping[str, str], body: bytes, now_s: float) -> TokenAnswer:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.find(token, now_s) is None:
            return _status(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if name not in self.accounts:
            denied = (
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            )
            return _status(403, "PERMISSION_DENIED", denied)
        asked = _object(body)
        scopes, life = asked.get("scope"), _LIFETIME.fullmatch(text_of(asked.get("lifetime") or "3600s"))
        if not isinstance(scopes, list) or not SCOPES & set(map(text_of, scopes)) or life is None:
            return _status(400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
        found = self._tokens.issue_to(name, self.accounts[name], now_s)
        expires_s = now_s + min(int(life[1]), self._tokens.life_s, _LIFE_MAX_S)
        instant = datetime.fromtimestamp(expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return TokenAnswer(200, orjson.dumps({"accessToken": found, "expireTime": instant}))

    def _metadata(self, path: str, headers: Mapping[str, str], now_s: float) -> TokenAnswer:
        name, project_id = self.machine or ("", "")
        if headers.get("metadata-flavor") != "Google":
            return _status(403, "PERMISSION_DENIED", "Missing Metadata-Flavor:Google header.")
        if path in ("instance/service-accounts/default/", f"instance/service-accounts/{name}/"):
            info = {"aliases": ["default"], "email": name, "scopes": sorted(SCOPES)}
            return TokenAnswer(200, orjson.dumps(info))
        if path in ("instance/service-accounts/default/token", f"instance/service-accounts/{name}/token"):
            return self._token(name, project_id, now_s)
        return _status(404, "NOT_FOUND", "Not found")

    def _token(
        self, name: str, project_id: str, now_s: float, more: Mapping[str, str] | None = None
    ) -> TokenAnswer:
        token = self._tokens.issue_to(name, project_id, now_s)
        answer = {
            "access_token": token,
            "expires_in": max(self._tokens.life_s - 1, 0),
            "token_type": "Bearer",
            **(more or {}),
        }
        return TokenAnswer(200, orjson.dumps(answer))


def _one(form: Mapping[str, list[str]], name: str) -> str:
    values = form.get(name, [])
    return values[0] if len(values) == 1 else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _refuse(status: int, error: str, description: str) -> TokenAnswer:
    return TokenAnswer(status, orjson.dumps({"error": error, "error_description": description}))


def _status(code: int, status: str, message: str) -> TokenAnswer:
    return TokenAnswer(code, orjson.dumps({"error": {"code": code, "message": message, "status": status}}))
