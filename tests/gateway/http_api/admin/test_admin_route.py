"""The part that all routes of operators have in common."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from redis.asyncio import Redis

from gateway.errors import ApiTokenRefused
from gateway.http_api.admin.admin_route import PREFIX, AdminRoute, bind
from gateway.http_api.client_address import CLIENT_ADDRESSES, ClientAddresses
from gateway.http_api.context import HandlerContext
from gateway.registry.scopes import Scope
from tests.gateway.http_api.harness import TOKEN, house


async def show(_: web.Request, found: dict[str, Any]) -> object:
    return {"sent": sorted(found)}


async def test_a_route_authorizes_before_its_handler_runs(redis_client: Redis) -> None:
    async with house(redis_client) as one:
        context = HandlerContext(one.services)
        route = bind(context, AdminRoute("GET", "/things", Scope.READ, "Things", show, {}))
        assert (route.method, route.path, route.who) == ("GET", f"{PREFIX}/things", "operator")
        app = web.Application()
        app[CLIENT_ADDRESSES] = ClientAddresses(())
        headers = {"X-RhoConnect-API-TOKEN": TOKEN}
        answer = await route.handler(make_mocked_request("GET", "/things?a=1", headers=headers, app=app))
        assert isinstance(answer, web.Response)
        assert answer.body == b'{"sent":["a"]}'
        with pytest.raises(ApiTokenRefused):
            await route.handler(make_mocked_request("GET", "/things", app=app))
        await context.close()
