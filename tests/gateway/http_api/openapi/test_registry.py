"""The forms of users and devices in the document, compared with the answers of the API."""

import json
from typing import Any

import pytest

from tests.gateway.http_api.harness import House, call
from tests.gateway.http_api.openapi.test_document import document_of, validator

STEPS = (
    ("POST", "/rc/v1/users", "/rc/v1/users", {"attributes": {"login": "ann", "password": "secret"}}),
    ("GET", "/rc/v1/users", "/rc/v1/users", None),
    ("GET", "/rc/v1/users/{user_id}", "/rc/v1/users/ann", None),
    ("PUT", "/rc/v1/users/{user_id}", "/rc/v1/users/ann", {"attributes": {"email": "ann@example.com"}}),
    ("POST", "/rc/v1/clients", "/rc/v1/clients", {"user_id": "ann", "device_type": "Apple"}),
    ("GET", "/rc/v1/users/{user_id}/clients", "/rc/v1/users/ann/clients", None),
    ("POST", "/api/list_clients", "/api/list_clients", {"user_id": "ann"}),
    (
        "POST",
        "/api/application/clientlogin",
        "/api/application/clientlogin",
        {"login": "ann", "password": "secret"},
    ),
    ("DELETE", "/rc/v1/users/{user_id}", "/rc/v1/users/ann", None),
)


def check(document: Any, operation: Any, answer: Any) -> None:
    """Assert that an answer has the form that the document describes."""
    described = operation["responses"][str(answer.status)]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    text = answer.body.decode()
    if "contentSchema" in schema:
        assert validator(document, schema["contentSchema"]).is_valid(json.loads(text)), text
    elif media_type == "application/json":
        assert validator(document, schema).is_valid(json.loads(text)), text
    else:
        assert validator(document, schema).is_valid(text)
    for name in described.get("headers", {}):
        assert name.lower() in answer.headers


async def test_the_answers_about_users_and_clients_have_their_form(api: House) -> None:
    document = await document_of(api)
    for method, path, concrete, body in STEPS:
        answer = await call(api, b"" if body is None else body, method=method, path=concrete)
        assert answer.status == 200, (method, path, answer.body)
        check(document, document["paths"][path][method.lower()], answer)


@pytest.mark.parametrize(
    ("method", "path", "concrete", "status"),
    [
        ("get", "/rc/v1/users/{user_id}", "/rc/v1/users/nobody", 404),
        ("post", "/rc/v1/users", "/rc/v1/users", 500),
        ("post", "/rc/v1/system/login", "/rc/v1/system/login", 401),
    ],
)
async def test_refusals_have_their_form(
    api: House, method: str, path: str, concrete: str, status: int
) -> None:
    document = await document_of(api)
    answer = await call(api, method=method.upper(), path=concrete)
    assert answer.status == status
    check(document, document["paths"][path][method], answer)
