"""GET and HEAD change nothing (RFC 9110 §9.2.1), but for RhoConnect's routes that the documentation lists."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.routes import routes
from tests.gateway.http_api.harness import TOKEN, House, request, wire
from tests.gateway.http_api.test_devices import PHONE, add, log_in, new_client

DOCUMENT = Path(__file__).parents[3] / "docs" / "http-api.md"
RHOCONNECTS = {("GET", "/application/clientcreate"), ("GET", "/api/application/clientcreate")}


async def everything(redis: Redis) -> dict[bytes, bytes]:
    return {key: await redis.dump(key) async for key in redis.scan_iter("*")}


def filled(route: HttpRoute, client_id: str) -> str:
    """The path of a route with what is there."""
    names = {"user_id": "bob", "client_id": client_id, "ping_id": "0" * 32, "kind": "all", "record": "0-0"}
    return route.path.format(**names) + f"?user_id=bob&client_id={client_id}"


async def status_of(api: House, method: str, path: str, token: str | None, headers: dict[str, str]) -> int:
    """The status of an answer; one to HEAD has the length of a body that does not come."""
    async with wire(api.port) as connection:
        connection.send(
            request(method=method, path=path, token=token, headers=headers | {"Connection": "close"})
        )
        return int((await connection.rest()).split()[1])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_other_get_changes_anything(api: House, redis_client: Redis, method: str) -> None:
    await add(api, "bob")
    session = await log_in(api, "bob")
    client_id = await new_client(api, session, PHONE)
    api.reports.known["0" * 32] = {"ping_id": "0" * 32}
    changing, answered = set(), 0
    for route in routes(HandlerContext(api.services)):
        if route.method != "GET":
            continue
        for token, headers in ((TOKEN, {}), (None, session), (TOKEN, {"Authorization": "Basic eDp5"})):
            before = await everything(redis_client)
            path = filled(route, client_id)
            status = await status_of(api, method, path, token, session | headers)
            answered += status < 300
            if await everything(redis_client) != before:
                changing.add((route.method, route.path))
    assert answered > 15
    assert changing == (RHOCONNECTS if method == "GET" else set())


async def test_the_table_and_the_documentation_name_the_get_routes_that_change_state(api: House) -> None:
    table = routes(HandlerContext(api.services))
    assert {(route.method, route.path) for route in table if route.changes_state} == RHOCONNECTS
    text = DOCUMENT.read_text()
    for method, path in RHOCONNECTS:
        assert f"`{method} {path}`" in text
