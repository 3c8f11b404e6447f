"""The simulated token endpoint: accepted assertions, and the permissions of its tokens."""

from typing import Any
from urllib.parse import urlencode

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from protocols.fcm.simulated_token import GRANT, AccessTokens, Account
from tests.support.certificates import RSA as PRIVATE

NOW_S = 1_700_000_000.0
STRANGER = rsa.generate_private_key(65537, 2048)
ACCOUNT = Account("push@p.iam.gserviceaccount.com", "key-1", PRIVATE.public_key(), "my-project")
HERE = "https://127.0.0.1/token"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"


def tokens(life_s: int = 3600) -> AccessTokens:
    endpoint = AccessTokens([ACCOUNT], secret=b"s", life_s=life_s)
    endpoint.audiences.add(HERE)
    return endpoint


def assertion(key: Any = PRIVATE, kid: str = "key-1", **changes: Any) -> str:
    claims = {
        "iss": ACCOUNT.email,
        "aud": HERE,
        "scope": SCOPE,
        "iat": int(NOW_S),
        "exp": int(NOW_S) + 3600,
        **changes,
    }
    return jwt.encode(claims, key, "RS256", {"kid": kid})


def ask(endpoint: AccessTokens, text: str, grant: str = GRANT) -> tuple[int, dict[str, Any]]:
    status, body = endpoint.exchange(urlencode({"grant_type": grant, "assertion": text}).encode(), NOW_S)
    return status, orjson.loads(body)


ACCEPTED = [
    {},
    {"aud": "https://oauth2.googleapis.com/token"},
    {"scope": "openid https://www.googleapis.com/auth/cloud-platform"},
    {"iat": int(NOW_S) + 300, "exp": int(NOW_S) + 3900},
    {"iat": int(NOW_S) - 3500, "exp": int(NOW_S) + 100},
]

REFUSED = [
    ({"iss": "other@p"}, "account not found"),
    ({"aud": "https://elsewhere/token"}, "audience"),
    ({"scope": "openid"}, "scope"),
    ({"exp": int(NOW_S) + 3601}, "short-lived"),
    ({"exp": int(NOW_S)}, "short-lived"),
    ({"iat": int(NOW_S) - 3700, "exp": int(NOW_S) - 100}, "short-lived"),
    ({"iat": int(NOW_S) + 301, "exp": int(NOW_S) + 400}, "short-lived"),
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_a_good_assertion_gets_a_token(changes: dict[str, Any]) -> None:
    endpoint = tokens()
    status, answer = ask(endpoint, assertion(**changes))
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 3599)
    grant = endpoint.find(answer["access_token"], NOW_S)
    assert grant is not None
    assert grant.project_id == "my-project"


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_a_wrong_claim_is_an_invalid_grant(changes: dict[str, Any], words: str) -> None:
    status, answer = ask(tokens(), assertion(**changes))
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert words in answer["error_description"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x.y.z",
        assertion(STRANGER),
        assertion(kid="key-2"),
        jwt.encode({}, PRIVATE, "RS256", {"kid": "key-1"}),
    ],
)
def test_a_wrong_signature_or_key_is_an_invalid_grant(text: str) -> None:
    assert ask(tokens(), text) == (
        400,
        {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
    )


def test_another_grant_is_not_supported() -> None:
    status, answer = ask(tokens(), assertion(), grant="password")
    assert (status, answer["error"]) == (400, "unsupported_grant_type")


def test_a_token_ends_with_its_life() -> None:
    endpoint = tokens(life_s=10)
    token = ask(endpoint, assertion())[1]["access_token"]
    assert endpoint.find(token, NOW_S + 9.9) is not None
    assert endpoint.find(token, NOW_S + 10) is None


def test_each_token_is_another() -> None:
    endpoint = tokens()
    given = {ask(endpoint, assertion())[1]["access_token"] for _ in range(5)}
    assert (len(given), endpoint.issued) == (5, 5)
