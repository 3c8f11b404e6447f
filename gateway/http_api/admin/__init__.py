"""The routes of operators under `/rc/v1/admin`, which the `rhopush` commands and the console use."""

from gateway.http_api.admin import audit, dead, devices, lanes, queue, tokens
from gateway.http_api.admin.admin_route import AdminRoute, bind
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import HttpRoute


def admin_routes(context: HandlerContext) -> list[HttpRoute]:
    """Return all routes of operators. Each module of this package adds its own."""
    table: list[AdminRoute] = [
        *queue.routes(context),
        *devices.routes(context),
        *dead.routes(context),
        *lanes.routes(context),
        *tokens.routes(context),
        *audit.routes(context),
    ]
    return [bind(context, route) for route in table]
