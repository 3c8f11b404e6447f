"""The table of all routes: path, authentication, and handler.

`deprecated` marks RhoConnect's older names: the same handler, with the Warning header that RhoConnect sends
(contract §1, §2). The OpenAPI document is generated from this table, so that both always agree.
"""

from typing import Any, Final

from gateway.delivery.provider_registry import installed
from gateway.http_api.acknowledgement import acknowledgement_route
from gateway.http_api.admin import admin_routes
from gateway.http_api.bulk import BulkRoutes
from gateway.http_api.context import HandlerContext
from gateway.http_api.devices import DeviceRoutes
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.openapi import DescribedRoute, describe
from gateway.http_api.ops import OpsRoutes
from gateway.http_api.ping import PingRoutes
from gateway.http_api.ping_cancel import cancel_route
from gateway.http_api.rhoconnect_push_login import RhoConnectPushLoginRoutes
from gateway.http_api.users import UserRoutes


def routes(context: HandlerContext) -> list[HttpRoute]:
    """The table, with its handlers bound to `context`."""
    table = _table(context)
    return table + _operation(context, _description(context, table))


def openapi_document(context: HandlerContext) -> dict[str, Any]:
    """The OpenAPI document of the table."""
    return _description(context, _table(context))


def _table(context: HandlerContext) -> list[HttpRoute]:
    return [
        *_pings(PingRoutes(context), BulkRoutes(context)),
        cancel_route(context),
        *_users(UserRoutes(context)),
        *_devices(DeviceRoutes(context)),
        acknowledgement_route(context),
        *_rhoconnect_push_logins(RhoConnectPushLoginRoutes(context)),
        *admin_routes(context),
    ]


def _operation(context: HandlerContext, description: dict[str, Any]) -> list[HttpRoute]:
    own_listener = context.services.settings.metrics.port is not None  # /metrics is then not on this port
    return _ops(OpsRoutes(context, description), metrics=not own_listener)


def _description(context: HandlerContext, table: list[HttpRoute]) -> dict[str, Any]:
    entries = installed().entries.values()
    return describe(
        (
            DescribedRoute(route.method, route.path, route.who, route.summary, route.operation)
            for route in (*table, *_operation(context, {}))
            if not route.deprecated
        ),
        {entry.name: entry.ping_addition for entry in entries if entry.ping_addition},
    )


_PING: Final = "Ping users' devices"


def _pings(on: PingRoutes, bulk: BulkRoutes) -> list[HttpRoute]:
    return [
        HttpRoute("POST", "/rc/v1/users/ping", "token", _PING, on.ping),
        # The .NET example of RhoConnect's documentation has this space, and programs in the field have it too.
        HttpRoute("POST", "/rc/v1/users%20/ping", "token", _PING, on.ping),
        HttpRoute("POST", "/api/ping", "token", _PING, on.ping, deprecated=True),
        HttpRoute("POST", "/api/client/ping", "token", _PING, on.ping, deprecated=True),
        HttpRoute("POST", "/rc/v1/pings", "header", "Many pings, one a line", bulk.pings, streams=True),
        HttpRoute("GET", "/rc/v1/pings", "operator", "Pings, the newest first", on.list),
        HttpRoute("GET", "/rc/v1/pings/{ping_id}", "operator", "What became of a ping", on.report),
    ]


def _users(on: UserRoutes) -> list[HttpRoute]:
    login, users, create = "Log in as admin and get the API token", "Every login", "Create a user"
    clients, client = "A user's client ids", "A client's fields"
    return [
        HttpRoute("POST", "/rc/v1/system/login", "login", login, on.login),
        HttpRoute("POST", "/login", "login", login, on.login, deprecated=True),
        HttpRoute("POST", "/api/admin/login", "login", login, on.login, deprecated=True),
        HttpRoute("GET", "/rc/v1/users", "token", users, on.users),
        HttpRoute("GET", "/rc/v1/users/", "token", users, on.users),
        HttpRoute("POST", "/api/list_users", "token", users, on.users, deprecated=True),
        HttpRoute("POST", "/api/user/list_users", "token", users, on.users, deprecated=True),
        HttpRoute("POST", "/rc/v1/users", "token", create, on.create_user),
        HttpRoute("POST", "/api/create_user", "token", create, on.create_user, deprecated=True),
        HttpRoute("GET", "/rc/v1/users/{user_id}", "token", "A user's fields", on.show_user),
        HttpRoute("PUT", "/rc/v1/users/{user_id}", "token", "Change a password or email", on.update_user),
        HttpRoute("DELETE", "/rc/v1/users/{user_id}", "token", "Delete a user", on.delete_user),
        HttpRoute("GET", "/rc/v1/users/{user_id}/clients", "token", clients, on.user_clients),
        HttpRoute("POST", "/api/list_clients", "token", clients, on.user_clients, deprecated=True),
        HttpRoute("POST", "/api/client/list_clients", "token", clients, on.user_clients, deprecated=True),
        HttpRoute(
            "DELETE",
            "/rc/v1/users/{user_id}/clients/{client_id}",
            "token",
            "Delete a client",
            on.delete_client,
        ),
        HttpRoute("GET", "/rc/v1/clients/{client_id}", "token", client, on.show_client),
        HttpRoute("POST", "/api/get_client_params", "token", client, on.show_client, deprecated=True),
        HttpRoute("POST", "/api/client/get_client_params", "token", client, on.show_client, deprecated=True),
        HttpRoute("GET", "/rc/v1/sources/type/{kind}", "token", "The names of sources", on.sources),
    ]


def _devices(on: DeviceRoutes) -> list[HttpRoute]:
    login, create, register = "Log in on a device", "Create a client", "Register a client for push"
    return [
        HttpRoute("POST", "/rc/v1/app/login", "login", login, on.login),
        HttpRoute("POST", "/application/clientlogin", "login", login, on.login, deprecated=True),
        HttpRoute(
            "POST", "/api/application/clientlogin", "login", login, on.login_with_body, deprecated=True
        ),
        HttpRoute("POST", "/rc/v1/clients", "device", create, on.create),
        HttpRoute(
            "GET",
            "/application/clientcreate",
            "device",
            create,
            on.create,
            deprecated=True,
            changes_state=True,
        ),
        HttpRoute(
            "GET",
            "/api/application/clientcreate",
            "device",
            create,
            on.create,
            deprecated=True,
            changes_state=True,
        ),
        HttpRoute("POST", "/rc/v1/clients/{client_id}/register", "device", register, on.register),
        HttpRoute("POST", "/application/clientregister", "device", register, on.register, deprecated=True),
        HttpRoute(
            "POST", "/api/application/clientregister", "device", register, on.register, deprecated=True
        ),
    ]


def _rhoconnect_push_logins(on: RhoConnectPushLoginRoutes) -> list[HttpRoute]:
    app, user = "Whether an app may post to the push service", "Whether a device may use the push service"
    return [
        HttpRoute("GET", "/rc/v1/system/rps_login", "login", app, on.app),
        HttpRoute("GET", "/rc/v1/app/rps_login", "login", user, on.user),
        HttpRoute("GET", "/rc/v1/app/ans_login", "login", user, on.user, deprecated=True),
        HttpRoute("GET", "/ans/login", "login", user, on.user, deprecated=True),
    ]


def _ops(on: OpsRoutes, *, metrics: bool) -> list[HttpRoute]:
    scraped = HttpRoute("GET", "/metrics", "anyone", "Prometheus metrics", on.metrics)
    return [
        HttpRoute("GET", "/healthz", "anyone", "Whether the process lives", on.healthz),
        HttpRoute("GET", "/readyz", "anyone", "Whether pings can be taken and sent", on.readyz),
        *([scraped] if metrics else []),
        HttpRoute("GET", "/openapi.json", "anyone", "This description", on.openapi),
    ]
