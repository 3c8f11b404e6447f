"""Service accounts, with a key generated here, and the token server's responses."""

import json
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import CredentialRefused, InvalidCredential, NoAccessToken
from protocols.fcm.credentials import AccessToken, ServiceAccount, parse_token_response
from protocols.fcm.simulated_token import AccessTokens, Account
from tests.support.certificates import RSA as PRIVATE

NOW_S = 1_700_000_000.5
URI = "https://oauth2.googleapis.com/token"


def pem(key: PrivateKeyTypes) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


FILE: dict[str, Any] = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "key1",
    "private_key": pem(PRIVATE),
    "client_email": "push@my-project.iam.gserviceaccount.com",
    "client_id": "1",
    "token_uri": URI,
    "universe_domain": "googleapis.com",
}


def account(**changes: Any) -> ServiceAccount:
    return ServiceAccount.from_json(json.dumps({**FILE, **changes}).encode())


def test_the_assertion_has_googles_claims() -> None:
    assertion = account().assertion(NOW_S)
    assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "kid": "key1", "typ": "JWT"}
    claims = jwt.decode(
        assertion, PRIVATE.public_key(), algorithms=["RS256"], audience=URI, options={"verify_exp": False}
    )
    assert claims == {
        "iss": "push@my-project.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": URI,
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }


def test_a_token_server_accepts_the_request() -> None:
    url, form = account().token_request(NOW_S)
    assert url == URI
    assert parse_qs(form.decode())["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    known = Account(account().client_email, "key1", PRIVATE.public_key(), "my-project")
    answer = AccessTokens([known], secret=b"s", life_s=3600).exchange(form, NOW_S)
    token = parse_token_response(answer.status, answer.body, NOW_S)
    assert NOW_S + 3500 < token.expires_s <= NOW_S + 3600


def test_the_facts_and_nothing_secret() -> None:
    one = account()
    assert (one.project_id, one.token_uri) == ("my-project", URI)
    assert repr(one).endswith("project_id='my-project', key=***)")
    assert "PRIVATE" not in repr(one)


def test_googles_own_token_server_where_the_file_names_none() -> None:
    file = {name: value for name, value in FILE.items() if name != "token_uri"}
    assert ServiceAccount.from_json(json.dumps(file)).token_uri == URI


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"type": "authorized_user"}, "credentials", 'type "service_account", not "authorized_user"'),
        ({"type": ""}, "credentials", 'not "none"'),
        ({"client_email": ""}, "credentials.client_email", "have no client_email"),
        ({"private_key": ""}, "credentials.private_key", "have no private_key"),
        ({"private_key_id": ""}, "credentials.private_key_id", "have no private_key_id"),
        ({"private_key": "secret-that-is-no-key"}, "credentials.private_key", "must be a PEM private key"),
        (
            {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))},
            "credentials.private_key",
            "must be RSA",
        ),
        ({"token_uri": "file:///etc/passwd"}, "credentials.token_uri", "must be a URL"),
        ({"client_email": 5}, "credentials", "client_email must be a text"),
    ],
)
def test_a_wrong_file_is_named_and_not_shown(changes: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidCredential, match=says) as refused:
        account(**changes)
    assert refused.value.field == field
    assert "secret-that" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "uri",
    [
        "http://oauth2.googleapis.com/token",
        "HTTP://oauth2.googleapis.com/token",
        "http://localhost.example.com/token",
        "http://127.0.0.1.example.com/token",
        "http://127.0.0.1@example.com/token",
        "http://10.0.0.1/token",
        "http://[2001:db8::1]/token",
        "http://0.0.0.0/token",
        "http:///token",
        "https:///token",
        "http://[::1/token",
        "https://example.com:port/token",
    ],
)
def test_a_token_uri_without_encryption_is_refused(uri: str) -> None:
    with pytest.raises(InvalidCredential) as refused:
        account(token_uri=uri)
    assert refused.value.field == "credentials.token_uri"


@pytest.mark.parametrize(
    "uri",
    [
        "https://oauth2.googleapis.com/token",
        "http://127.0.0.1:8080/token",
        "http://127.1.2.3/token",
        "http://localhost/token",
        "http://LOCALHOST:1/token",
        "http://[::1]:8080/token",
    ],
)
def test_a_token_uri_with_tls_or_on_this_machine(uri: str) -> None:
    assert account(token_uri=uri).token_uri == uri


def test_a_key_that_is_too_short() -> None:
    with pytest.raises(InvalidCredential, match="RSA of 2048 bits or more"):
        account(private_key=pem(rsa.generate_private_key(65537, 1024)))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_json(data: bytes) -> None:
    with pytest.raises(InvalidCredential, match="must be the JSON of a service account"):
        ServiceAccount.from_json(data)


def test_a_token_response_becomes_an_access_token() -> None:
    token = parse_token_response(
        200, b'{"access_token":"ya29.abc","expires_in":3599,"token_type":"Bearer"}', NOW_S
    )
    assert token == AccessToken("ya29.abc", NOW_S + 3599)
    assert "ya29" not in repr(token)


@pytest.mark.parametrize("expires_in", [None, 0, -1, "3599", True, []])
def test_a_missing_lifetime_is_an_hour(expires_in: Any) -> None:
    body = json.dumps({"access_token": "t", "expires_in": expires_in}).encode()
    assert parse_token_response(200, body).expires_s == 3600.0


@pytest.mark.parametrize("expires_in", ["86401", "1e308", "9" * 400])
def test_no_life_is_longer_than_a_day(expires_in: str) -> None:
    body = f'{{"access_token": "t", "expires_in": {expires_in}}}'.encode()
    assert parse_token_response(200, body).expires_s == 86_400.0


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, b'{"error":"invalid_grant","error_description":"Invalid JWT Signature."}', "invalid_grant"),
        (401, b'{"error":"invalid_client"}', "invalid_client"),
        (400, b'{"error":"invalid_scope"}', "invalid_scope"),
        (403, b"", "HTTP 403"),
        (401, b"<html>", "HTTP 401"),
    ],
)
def test_an_account_that_is_refused(status: int, body: bytes, says: str) -> None:
    with pytest.raises(CredentialRefused, match=says) as refused:
        parse_token_response(status, body)
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b"", "HTTP 500"),
        (503, b'{"error":"temporarily_unavailable"}', "temporarily_unavailable"),
        (429, b"[]", "HTTP 429"),
        (404, b"", "HTTP 404"),
        (200, b"", "HTTP 200"),
        (200, b'{"access_token":""}', "HTTP 200"),
        (200, b'{"access_token":5}', "HTTP 200"),
        (200, b'{"access_token":"a\\r\\nb"}', "HTTP 200"),
        (200, b'{"access_token":"a b"}', "HTTP 200"),
        (200, '{"access_token":"ä"}'.encode(), "HTTP 200"),
        (200, b'{"access_token":"' + b"a" * 8193 + b'"}', "HTTP 200"),
        (500, b'{"error":"<script>"}', "HTTP 500"),
    ],
)
def test_no_token_now(status: int, body: bytes, says: str) -> None:
    with pytest.raises(NoAccessToken, match=says) as refused:
        parse_token_response(status, body)
    assert refused.value.retryable


@given(st.integers(100, 599), st.binary(max_size=60))
def test_no_answer_raises_anything_else(status: int, body: bytes) -> None:
    with pytest.raises((CredentialRefused, NoAccessToken)):
        parse_token_response(status, body)
