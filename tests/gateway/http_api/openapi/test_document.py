"""The document and the API agree: every route in it answers, and refuses callers as documented."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from gateway.errors import IdempotencyConflict
from gateway.http_api.openapi import DescribedRoute, describe
from tests.gateway.http_api.harness import House, call


async def served_document(api: House) -> Any:
    """The document as it is served."""
    return (await call(api, method="GET", path="/openapi.json", token=None)).json


def with_responses(document: Any) -> Any:
    """The document, with the responses of its components in place of the references to them."""
    components = document["components"]["responses"]
    for _, _, operation in operations_of(document):
        operation["responses"] = {
            status: components[part["$ref"].removeprefix("#/components/responses/")]
            if "$ref" in part
            else part
            for status, part in operation["responses"].items()
        }
    return document


async def document_of(api: House) -> Any:
    """The document, with its responses in place."""
    return with_responses(await served_document(api))


def operations_of(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Every operation: method, path, and its description."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method, path, operation


async def test_every_described_route_is_there(api: House) -> None:
    document = await document_of(api)
    assert document["openapi"] == "3.1.0"
    seen = 0
    for method, path, operation in operations_of(document):
        concrete = path.replace("{", "").replace("}", "")
        answer = await call(api, method=method.upper(), path=concrete, token=None)
        assert str(answer.status) in operation["responses"], (method, path)
        if operation["security"] or "login" in path:
            assert answer.status in (401, 422), (method, path)
        else:
            assert answer.status == 200, (method, path)
        seen += 1
    assert seen >= 44


async def test_every_reference_leads_to_a_component(api: House) -> None:
    document = await served_document(api)
    text = json.dumps(document)
    count = 0
    for kind in ("schemas", "responses"):
        found = re.findall(rf'"\$ref": "#/components/{kind}/(\w+)"', text)
        assert len(found) > len(set(found)) > 10
        assert set(found) <= set(document["components"][kind])
        count += len(found)
    assert text.count('"$ref"') == count
    for used in operations_of(document):
        for requirement in used[2]["security"]:
            assert set(requirement) <= set(document["components"]["securitySchemes"])


async def test_responses_to_errors_are_described_once(api: House) -> None:
    document = await served_document(api)
    responses = document["components"]["responses"]
    assert len({json.dumps(part) for part in responses.values()}) == len(responses)
    for _, path, operation in operations_of(document):
        for status in ("400", "403", "404", "408", "413", "422", "503"):
            part = operation["responses"].get(status, {"$ref": ""})
            assert "$ref" in part or path == "/readyz", (path, status)
    assert len(json.dumps(document, indent=2)) < 400_000


async def test_every_route_with_a_token_may_lack_a_scope(api: House) -> None:
    document = await document_of(api)
    seen = 0
    for method, path, operation in operations_of(document):
        if any("token" in requirement for requirement in operation["security"]):
            examples = operation["responses"]["403"]["content"]["application/json"]["examples"]
            assert {"scope_missing", "app_not_allowed"} <= set(examples), (method, path)
            seen += 1
    assert seen > 40


async def test_a_route_without_a_token_names_no_error_of_tokens(api: House) -> None:
    document = await document_of(api)
    seen = 0
    for method, path, operation in operations_of(document):
        secured = any("token" in requirement for requirement in operation["security"])
        if not secured and not path.endswith(
            "login"
        ):  # the login of an operator is refused as its token would be
            text = json.dumps(operation["responses"])
            for code in ("api_token_refused", "scope_missing", "app_not_allowed"):
                assert code not in text, (method, path, code)
            seen += 1
    assert seen > 4


async def test_every_operation_has_its_own_id(api: House) -> None:
    ids = [operation["operationId"] for _, _, operation in operations_of(await document_of(api))]
    assert len(ids) == len({name.lower() for name in ids})
    assert {"postUsersPing", "postUsersSpacePing", "getUsers", "getUsersSlash", "getUsersByUserId"} <= set(
        ids
    )
    assert all(name.isalnum() for name in ids)


def strict(schema: Any) -> Any:
    """The schema, with objects that have no further members than those described."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(part) for name, part in schema.items()}
    if "properties" in found and "type" in found:
        found.setdefault("additionalProperties", False)
    return found


def validator(document: Any, schema: Any) -> Any:
    """A validator of a schema that may refer to the document's components."""
    return jsonschema_rs.Draft202012Validator(
        strict({"components": document["components"], **schema}), validate_formats=True
    )


def examples_of(document: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every example of a JSON body: where it is, its schema, the example."""
    for method, path, operation in operations_of(document):
        places = [("request", operation.get("requestBody", {})), *operation["responses"].items()]
        for place, part in places:
            for kind, media in part.get("content", {}).items():
                values = [one["value"] for one in media.get("examples", {}).values()]
                values += [media["example"]] if "example" in media else []
                for value in values:
                    where = f"{method} {path} {place} {kind}"
                    inside = media["schema"].get("contentSchema")
                    if inside is not None:
                        yield where, inside, json.loads(value)
                    elif kind == "application/json":
                        yield where, media["schema"], value


async def test_every_example_is_valid(api: House) -> None:
    document = await document_of(api)
    places = set()
    for where, schema, value in examples_of(document):
        assert validator(document, schema).is_valid(value), (where, value)
        places.add(where)
    assert len(places) > 150


async def test_every_success_with_a_body_has_a_schema_and_an_example(api: House) -> None:
    for method, path, operation in operations_of(await document_of(api)):
        for status, response in operation["responses"].items():
            if status in ("200", "202"):
                assert response["content"], (method, path)
                for media in response["content"].values():
                    assert "schema" in media, (method, path)
                    assert "example" in media, (method, path)


@pytest.mark.parametrize("name", ["user_id", "sources", "message", "ttl_s", "collapse_id", "wait", "apns"])
async def test_the_pings_parameters_are_described(api: House, name: str) -> None:
    document = await document_of(api)
    body = document["paths"]["/rc/v1/users/ping"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"] == {"$ref": "#/components/schemas/Ping"}
    assert name in document["components"]["schemas"]["Ping"]["properties"]


async def test_a_line_has_the_parameters_of_a_ping_that_may_be_sent_without_a_caller(api: House) -> None:
    document = await document_of(api)
    schemas = document["components"]["schemas"]
    operation = document["paths"]["/rc/v1/pings"]["post"]
    line = set(schemas["PingLine"]["properties"])
    described = set(schemas["Ping"]["properties"])
    assert line == described - {"wait", "api_token", "explain", "validate"} | {"idempotency_key"}
    assert operation["security"] == [{"token": []}]
    assert set(operation["responses"]["200"]["content"]) == {"application/x-ndjson", "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/readyz", {"200", "503"}),
        ("get", "/rc/v1/system/rps_login", {"204", "401", "500"}),
        ("get", "/rc/v1/app/rps_login", {"204", "401"}),
        ("post", "/rc/v1/users/ping", {"200", "409", "422", "429", "500", "503", "504"}),
        ("post", "/rc/v1/users", {"200", "422", "500"}),
        ("get", "/rc/v1/users/{user_id}", {"200", "404", "422", "503"}),
        ("post", "/rc/v1/system/login", {"200", "401", "422", "429"}),
        ("delete", "/rc/v1/pings/{ping_id}", {"202", "403", "404", "409", "503"}),
        ("post", "/rc/v1/pings/{ping_id}/ack", {"200", "401", "403", "404"}),
        ("post", "/rc/v1/admin/tokens", {"200", "400", "403", "409", "503"}),
        ("post", "/rc/v1/admin/queue/unreadable/{record}/requeue", {"200", "403", "404", "409", "503"}),
        ("post", "/rc/v1/admin/webhooks/{name}/replay", {"200", "400", "403", "404", "503"}),
        ("get", "/rc/v1/admin/devices", {"200", "400", "403", "404", "413", "503"}),
    ],
)
async def test_the_statuses_of_a_route_are_described(
    api: House, method: str, path: str, statuses: set[str]
) -> None:
    responses = (await document_of(api))["paths"][path][method]["responses"]
    assert statuses <= set(responses)
    assert "default" not in responses


async def test_readiness_is_described_as_it_is_answered(api: House) -> None:
    api.missing["redis"] = "does not answer"
    document = await document_of(api)
    answer = await call(api, method="GET", path="/readyz", token=None)
    described = document["paths"]["/readyz"]["get"]["responses"][str(answer.status)]
    assert validator(document, described["content"]["application/json"]["schema"]).is_valid(answer.json)


async def test_the_list_of_pings_and_its_parameters_are_described(api: House) -> None:
    document = await document_of(api)
    listing = document["paths"]["/rc/v1/pings"]["get"]
    assert [parameter["name"] for parameter in listing["parameters"]] == ["state", "limit", "cursor"]
    page = document["components"]["schemas"]["PingPage"]
    assert set(page["required"]) == set(page["properties"]) == {"pings", "next_cursor"}


def test_a_route_that_describes_itself() -> None:
    own = {
        "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer"}}],
        "responses": {"410": {"description": "Deleted before"}},
    }
    route = DescribedRoute("DELETE", "/things/{name}", "token", "Delete", own, (IdempotencyConflict,))
    operation = describe([route])["paths"]["/things/{name}"]["delete"]
    assert [one["name"] for one in operation["parameters"]] == ["name", "limit"]
    assert {"200", "404", "409", "410", "422"} <= set(operation["responses"])
    assert operation["operationId"] == "deleteThingsByName"
    assert "deprecated" not in operation


def test_an_older_route_is_deprecated_and_has_a_warning() -> None:
    route = DescribedRoute("GET", "/old", "anyone", "Old", deprecated=True)
    operation = describe([route])["paths"]["/old"]["get"]
    assert operation["deprecated"] is True
    assert set(operation["responses"]["200"]["headers"]) == {"Warning"}
