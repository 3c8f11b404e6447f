"""The table of operators' routes."""

from redis.asyncio import Redis

from gateway.http_api.admin import admin_routes
from gateway.http_api.context import HandlerContext
from tests.gateway.http_api.harness import house


async def test_every_route_of_operators_is_under_one_prefix(redis_client: Redis) -> None:
    async with house(redis_client) as one:
        context = HandlerContext(one.services)
        assert all(route.path.startswith("/rc/v1/admin/") for route in admin_routes(context))
        await context.close()
