"""schemathesis sends requests that it makes from the document to a real gateway, and compares the answers with it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import StartGateway
from tests.support.gateway import TOKEN
from tests.support.redis import RedisServer

EXAMPLES = 4
"""Requests of each kind for each operation."""
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXPECTED_500 = {
    ("POST", "/rc/v1/users"),  # RhoConnect's status of a login that is empty or exists
    ("POST", "/api/create_user"),
    ("POST", "/rc/v1/app/login"),
    ("POST", "/application/clientlogin"),
    ("POST", "/api/application/clientlogin"),
    ("GET", "/rc/v1/system/rps_login"),  # RhoConnect's status without `:push_server:`
}
NOT_ALONE = ("wait", "explain", "validate", "deliver_at", "apns", "fcm")
"""Parameters of a ping that a schema cannot describe completely: some exclude each other, others have rules inside."""
NOT_TO_ALL = ("devices", "tokens")
"""Members of `to` that exclude `all_users`, as `user_id` does."""
NOT_OF_TOKENS = ("apps", "expires_at")
"""Of a new token: not with the scope `admin`; in the future."""
GATEWAY = {"auth": {"devices": "open"}}


@pytest.fixture
def store() -> Iterator[RedisServer]:
    """A store with RhoConnect's layout: its password hash is fast."""
    with RedisServer("valkey") as server:
        yield server


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    """One line, or the lines of an example."""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode() + b"\n"


def without_exclusions(case: Any) -> Any:
    """The request, without the parameters whose values or combinations the schema does not describe completely."""
    if "ping" in case.operation.path and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name not in NOT_ALONE}
        if case.body.get("to", {}).get("all_users"):
            case.body.pop("user_id", None)
            case.body["to"] = {
                name: value for name, value in case.body["to"].items() if name not in NOT_TO_ALL
            }
    elif case.operation.path.endswith("/dead/restore"):
        case.body = {name: value for name, value in case.body.items() if name != "cursor"} | {"all": True}
    elif case.operation.path.endswith("/tokens") and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name not in NOT_OF_TOKENS}
    if case.query:
        case.query.pop("cursor", None)  # only a value of an earlier page is valid
    return case


def try_operation(operation: Any, mode: GenerationMode) -> int:
    """Send requests of one operation, and return how many were sent."""
    sent = 0
    valid = mode is GenerationMode.POSITIVE
    checks = [*CONFORMANCE, positive_data_acceptance] if valid else CONFORMANCE
    if (operation.method.upper(), operation.path) not in EXPECTED_500:
        checks = [*checks, not_a_server_error]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        nonlocal sent
        sent += 1
        headers = {"X-RhoConnect-API-TOKEN": TOKEN}
        case = without_exclusions(case) if valid else case
        response = case.call(headers=headers, timeout=20)
        case.validate_response(response, checks=checks, headers=headers)

    send()
    return sent


def operations_of(document: Any, url: str) -> list[Any]:
    """The operations, with the address of a gateway."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    return [found.ok() for found in schema.get_all_operations()]


def modes_of(operation: Any) -> list[GenerationMode]:
    """Valid and invalid requests; valid ones alone for an older name of a route."""
    older = operation.definition.raw.get("deprecated", False)
    return [GenerationMode.POSITIVE, *([] if older else [GenerationMode.NEGATIVE])]


@pytest.mark.timeout(400)
async def test_the_gateway_answers_as_documented(start_gateway: StartGateway, store: RedisServer) -> None:
    gateway = await start_gateway(GATEWAY, app={"redis": store.address})
    async with aiohttp.ClientSession() as session, session.get(gateway.url + "/openapi.json") as response:
        document = await response.json()
    sent, failures = 0, []
    for operation in operations_of(document, gateway.url):
        for mode in modes_of(operation):
            try:
                sent += await asyncio.to_thread(try_operation, operation, mode)
            except Unsatisfiable:  # every request is valid
                assert mode is GenerationMode.NEGATIVE, operation.path
            except (
                BaseExceptionGroup
            ) as error:  # every operation is tried, so that one run shows all findings
                failures.append(f"{operation.method} {operation.path} {mode}: {error}")
    assert not failures, "\n\n".join(failures)
    assert sent > 200
