"""The table of the console's routes."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.console import ConsoleStores, console_routes
from gateway.http_api.context import HandlerContext
from gateway.http_api.routes import routes
from tests.gateway.console.harness import Console, open_console


@pytest.fixture
async def console(redis_client: Redis, redis_address: str) -> AsyncIterator[Console]:
    async with open_console(redis_client, redis_address) as found:
        yield found


async def test_no_route_is_registered_twice_or_hides_one_of_the_api(console: Console) -> None:
    context = HandlerContext(console.api.services)
    stores = ConsoleStores(console.reports, console.history, console.tries, console.deliveries)
    own = console_routes(stores)(context)
    pairs = [(route.method, route.path) for route in (*own, *routes(context))]
    assert len(set(pairs)) == len(pairs)
    assert all(route.path.startswith("/console") for route in own)


async def test_no_get_changes_anything_in_redis(console: Console) -> None:
    async with console.operator() as browser:
        before = {key: await console.redis.dump(key) async for key in console.redis.scan_iter("*")}
        for path in (
            "",
            "/",
            "/ping",
            "/pings",
            "/users",
            "/lanes",
            "/settings",
            "/api",
            "/tokens",
            "/audit",
        ):
            assert (await browser.get(f"/console{path}"))[0] == 200
        after = {key: await console.redis.dump(key) async for key in console.redis.scan_iter("*")}
    assert after == before


async def test_an_unknown_page_and_method_are_not_found(console: Console) -> None:
    async with console.operator() as browser:
        assert (await browser.get("/console/none"))[0] == 404
        assert (await browser.post("/console/settings", data={}))[0] == 404
