"""The forms of pings in the document, compared with what the API accepts and answers."""

import json
from typing import Any

import jsonschema_rs
import pytest

from gateway.http_api.openapi.ping import schemas
from protocols.errors import InvalidField
from protocols.ping.parse import from_json
from tests.gateway.http_api.harness import House, call
from tests.gateway.http_api.openapi.test_document import document_of, validator

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("user_id", ["bob", ["a", "b"]], ["x" * 1025]),
        ("badge", [0, 2**31 - 1, "5"], [-1, 2**31]),
        ("vibrate", [100, "100"], [-1]),
        ("ttl_s", [0, 2_419_200, "60"], [2_419_201, -1]),
        ("title", ["hi"], ["x" * 16_385]),
        ("sound", ["a.caf"], ["x" * 1_025]),
        ("priority", ["high"], ["urgent"]),
        ("collapse_id", ["a"], ["x" * 65]),
        ("deliver_at", ["2030-01-31T09:30:00Z", 1_900_000_000], ["tomorrow"]),
    ],
)
def test_the_schema_of_a_parameter_agrees_with_its_parser(name: str, good: list[Any], bad: list[Any]) -> None:
    schema = jsonschema_rs.Draft202012Validator(schemas({})["Ping"], validate_formats=True)
    for value in good:
        assert schema.is_valid({name: value}), value
        from_json(json.dumps({name: value}).encode())
    for value in bad:
        assert not schema.is_valid({name: value}), value
        with pytest.raises(InvalidField):
            from_json(json.dumps({name: value}).encode())


TO = {
    "all_users": ([True, False], ["yes", 1]),
    "devices": ([[], ["c" * 32]], [[""], ["x" * 1025], ["x"] * 1001, "x"]),
    "tokens": (
        [[], [{"provider": "apns", "token": "x"}], [{"provider": "fcm", "token": "x" * 4096, "app": "a"}]],
        [
            [{}],
            [{"provider": "apns"}],
            [{"provider": "apns", "token": ""}],
            [{"provider": "apns", "token": "x" * 4097}],
            [{"provider": "apns", "token": "x", "more": 1}],
        ],
    ),
    "apps": ([["com.example"]], [[], [""]]),
    "providers": ([["apns", "fcm"]], [[]]),
    "except_users": ([[], ["bob"]], [[1]]),
    "unknown": ([], [[]]),
}


@pytest.mark.parametrize("name", TO)
def test_the_schema_of_recipients_agrees_with_their_parser(name: str) -> None:
    schema = jsonschema_rs.Draft202012Validator(schemas({}, ["apns", "fcm"])["Ping"])
    good, bad = TO[name]
    for value in good:
        assert schema.is_valid({"to": {name: value}}), value
        from_json(json.dumps({"to": {name: value}}).encode())
    for value in bad:
        assert not schema.is_valid({"to": {name: value}}), value
        with pytest.raises(InvalidField):
            from_json(json.dumps({"to": {name: value}}).encode())


async def test_the_installed_providers_are_described(api: House) -> None:
    to = (await document_of(api))["components"]["schemas"]["Ping"]["properties"]["to"]["properties"]
    assert {"apns", "fcm", "rhoconnect_push"} <= set(to["providers"]["items"]["enum"])
    assert to["tokens"]["items"]["properties"]["provider"] == to["providers"]["items"]


async def test_answers_to_lines_have_their_form(api: House) -> None:
    document = await document_of(api)
    content = document["paths"]["/rc/v1/pings"]["post"]["responses"]["200"]["content"]
    body = b'{"user_id": "bob", "unknown": 1}\n{"badge": -1}\n{"message": "hi"}\n'
    lines = validator(document, content["application/x-ndjson"]["schema"])
    answer = await call(api, body, path="/rc/v1/pings", headers=NDJSON | {"Prefer": "return=minimal"})
    assert answer.json["refused"] == 1
    assert validator(document, content["application/json"]["schema"]).is_valid(answer.json)
    for error in answer.json["errors"]:
        assert lines.is_valid(error)
        assert not lines.is_valid(error | {"further": 1})
