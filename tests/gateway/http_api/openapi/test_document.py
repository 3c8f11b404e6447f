"""The description says what the doors do: every route in it answers, and refuses whom it says it refuses."""

import pytest

from gateway.http_api.openapi import DescribedRoute, describe
from tests.gateway.http_api.harness import House, call


async def test_every_described_route_is_there(api: House) -> None:
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    assert description["openapi"] == "3.1.0"
    seen = 0
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            concrete = path.replace("{", "").replace("}", "")
            answer = await call(api, method=method.upper(), path=concrete, token=None)
            refused = sorted({"401", "422"} & set(operation["responses"]))
            if operation["security"]:
                assert [str(answer.status)] == refused, (method, path)
            elif refused:
                assert answer.status == 401, (method, path)
            else:
                assert answer.status == 200, (method, path)
            seen += 1
    assert seen >= 20


async def test_every_reference_leads_somewhere(api: House) -> None:
    answer = await call(api, method="GET", path="/openapi.json", token=None)
    assert b'"$ref":"#/components/schemas/Error"' in answer.body
    assert answer.body.count(b'"$ref"') == answer.body.count(b'"$ref":"#/components/schemas/Error"')
    assert answer.json["components"]["schemas"]["Error"]["required"] == ["error"]


@pytest.mark.parametrize("name", ["user_id", "sources", "message", "ttl_s", "collapse_id", "wait", "apns"])
async def test_the_pings_parameters_are_described(api: House, name: str) -> None:
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    body = description["paths"]["/rc/v1/users/ping"]["post"]["requestBody"]["content"]
    assert name in body["application/json"]["schema"]["properties"]


async def test_a_line_has_the_parameters_of_a_ping_that_may_be_sent_without_a_caller(api: House) -> None:
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    ping = description["paths"]["/rc/v1/users/ping"]["post"]["requestBody"]["content"]
    operation = description["paths"]["/rc/v1/pings"]["post"]
    line = operation["requestBody"]["content"]["application/x-ndjson"]["schema"]["properties"]
    described = set(ping["application/json"]["schema"]["properties"])
    assert set(line) == described - {"wait", "api_token", "explain", "validate"} | {"idempotency_key"}
    assert operation["security"] == [{"token": []}]
    assert set(operation["responses"]["200"]["content"]) == {"application/x-ndjson", "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("get", "/readyz", {"200", "503"}),
        ("get", "/rc/v1/system/rps_login", {"204", "401"}),
        ("get", "/rc/v1/app/rps_login", {"204", "401"}),
        ("post", "/rc/v1/users/ping", {"200", "422", "500", "503", "504"}),
    ],
)
async def test_the_answers_of_a_route_are_those_that_it_gives(
    api: House, method: str, path: str, statuses: set[str]
) -> None:
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    assert set(description["paths"][path][method]["responses"]) == statuses | {"default"}


async def test_readiness_is_described_as_it_is_told(api: House) -> None:
    api.missing["redis"] = "does not answer"
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    answer = await call(api, method="GET", path="/readyz", token=None)
    described = description["paths"]["/readyz"]["get"]["responses"][str(answer.status)]
    assert described["content"]["application/json"]["schema"]["required"] == list(answer.json)


async def test_the_list_of_pings_and_its_parameters_are_described(api: House) -> None:
    description = (await call(api, method="GET", path="/openapi.json", token=None)).json
    operations = description["paths"]["/rc/v1/pings"]
    listing = operations["get"]
    assert [parameter["name"] for parameter in listing["parameters"]] == ["state", "limit", "cursor"]
    page = listing["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(page["required"]) == set(page["properties"]) == {"pings", "next_cursor"}
    assert "application/x-ndjson" in operations["post"]["responses"]["200"]["content"]


def test_a_route_that_describes_itself() -> None:
    own = {
        "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer"}}],
        "responses": {"409": {"description": "Done already"}},
    }
    route = DescribedRoute("DELETE", "/things/{name}", "token", "Delete", own)
    operation = describe([route])["paths"]["/things/{name}"]["delete"]
    assert [one["name"] for one in operation["parameters"]] == ["name", "limit"]
    assert {"200", "409", "422", "default"} == set(operation["responses"])
