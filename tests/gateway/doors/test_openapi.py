"""The description says what the doors do: every route in it answers, and refuses whom it says it refuses."""

import pytest

from tests.gateway.doors.house import House, call


async def test_every_described_route_is_there(doors: House) -> None:
    description = (await call(doors, method="GET", path="/openapi.json", token=None)).json
    assert description["openapi"] == "3.1.0"
    seen = 0
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            concrete = path.replace("{", "").replace("}", "")
            answer = await call(doors, method=method.upper(), path=concrete, token=None)
            refused = sorted({"401", "422"} & set(operation["responses"]))
            if operation["security"]:
                assert [str(answer.status)] == refused, (method, path)
            elif refused:
                assert answer.status == 401, (method, path)
            else:
                assert answer.status == 200, (method, path)
            seen += 1
    assert seen >= 20


async def test_every_reference_leads_somewhere(doors: House) -> None:
    answer = await call(doors, method="GET", path="/openapi.json", token=None)
    assert b'"$ref":"#/components/schemas/Error"' in answer.body
    assert answer.body.count(b'"$ref"') == answer.body.count(b'"$ref":"#/components/schemas/Error"')
    assert answer.json["components"]["schemas"]["Error"]["required"] == ["error"]


@pytest.mark.parametrize("name", ["user_id", "sources", "message", "ttl_s", "collapse_id", "wait", "apns"])
async def test_the_pings_parameters_are_described(doors: House, name: str) -> None:
    description = (await call(doors, method="GET", path="/openapi.json", token=None)).json
    body = description["paths"]["/rc/v1/users/ping"]["post"]["requestBody"]["content"]
    assert name in body["application/json"]["schema"]["properties"]
