"""Simulated Google endpoints for credentials without a key: refusals."""

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from protocols.fcm.simulated_google import STS_PATH, GoogleEndpoints, GoogleUser, Workload, gives_tokens
from protocols.fcm.simulated_token import IAM_SCOPE, SCOPES, AccessTokens, TokenAnswer

NOW_S = 1_700_000_000.0
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
SCOPE = min(SCOPES)
IAM = "/v1/projects/-/serviceAccounts/sender@p.iam.gserviceaccount.com:generateAccessToken"
MACHINE = "/computeMetadata/v1/instance/service-accounts/default/token?scopes=x"


def endpoints() -> GoogleEndpoints:
    found = GoogleEndpoints(AccessTokens([], secret=b"secret"))
    found.workloads["subject"] = Workload("//pool", "project")
    found.users["refresh"] = GoogleUser("id", "secret", "project")
    found.accounts["sender@p.iam.gserviceaccount.com"] = "project"
    found.machine = ("machine@p.iam.gserviceaccount.com", "project")
    return found


def exchange(google: GoogleEndpoints, **changes: str) -> TokenAnswer:
    form = {"grant_type": GRANT, "audience": "//pool", "subject_token": "subject", "scope": SCOPE, **changes}
    answer = google.answer(STS_PATH, {}, urlencode(form).encode(), NOW_S)
    assert answer is not None
    return answer


def generate(google: GoogleEndpoints, authorization: str, path: str = IAM, **body: Any) -> TokenAnswer:
    answer = google.answer(
        path, {"authorization": authorization}, orjson.dumps({"scope": [SCOPE], **body}), NOW_S
    )
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "x"}, "unsupported_grant_type"),
        ({"subject_token": "another"}, "invalid_grant"),
        ({"audience": "//another"}, "invalid_grant"),
        ({"scope": "email"}, "invalid_scope"),
    ],
)
def test_assertions_that_are_refused(changes: dict[str, str], error: str) -> None:
    answer = exchange(endpoints(), **changes)
    assert (answer.status, orjson.loads(answer.body)["error"]) == (400, error)


def test_a_token_to_impersonate_with_sends_nothing() -> None:
    google = endpoints()
    token = orjson.loads(exchange(google, scope=IAM_SCOPE).body)["access_token"]
    grant = google._tokens.find(token, NOW_S)
    assert grant is not None
    assert grant.project_id == ""
    answer = orjson.loads(generate(google, f"Bearer {token}", lifetime="600s").body)
    assert answer["expireTime"] == "2023-11-14T22:23:20Z"
    found = google._tokens.find(answer["accessToken"], NOW_S)
    assert found is not None
    assert found.project_id == "project"


def test_accounts_that_may_not_impersonate() -> None:
    google = endpoints()
    token = f"Bearer {orjson.loads(exchange(google).body)['access_token']}"
    assert generate(google, "").status == generate(google, "Bearer x").status == 401
    assert generate(google, token, IAM.replace("sender", "another")).status == 403
    assert (
        generate(google, token, scope=["email"]).status
        == generate(google, token, lifetime="long").status
        == 400
    )


@pytest.mark.parametrize("changes", [{"refresh_token": ["x"]}, {"client_secret": ["x"]}, {"client_id": []}])
def test_a_user_is_identified_by_three_texts(changes: dict[str, list[str]]) -> None:
    form = {"refresh_token": ["refresh"], "client_id": ["id"], "client_secret": ["secret"]}
    assert endpoints().refresh(form, NOW_S).status == 200
    assert endpoints().refresh({**form, **changes}, NOW_S).status == 400


def test_the_metadata_server_wants_its_header_and_may_be_absent() -> None:
    google = endpoints()
    assert gives_tokens(MACHINE)
    for headers, status in (({}, 403), ({"metadata-flavor": "Google"}, 200)):
        answer = google.answer(MACHINE, headers, b"", NOW_S)
        assert answer is not None
        assert answer.status == status
    google.machine = None
    assert google.answer(MACHINE, {"metadata-flavor": "Google"}, b"", NOW_S) is None
