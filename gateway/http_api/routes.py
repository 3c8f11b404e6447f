"""The table of all routes: path, authentication, and handler.

`deprecated` marks RhoConnect's older names: the same handler, with the Warning header that RhoConnect sends
(contract §1, §2). The OpenAPI document is generated from this table, so that both always agree.
"""

from typing import Final

from gateway.delivery.provider_registry import installed
from gateway.errors import ApiTokenRefused, MetricsUnavailable
from gateway.http_api.admin import admin_routes
from gateway.http_api.bulk import BulkRoutes
from gateway.http_api.context import HandlerContext
from gateway.http_api.devices import DeviceRoutes
from gateway.http_api.http_route import HttpRoute
from gateway.http_api.openapi import DescribedRoute, describe, process, registry
from gateway.http_api.openapi.ping import APPENDING, BULK, BULK_OPERATION, PING_OPERATION
from gateway.http_api.openapi.reports import LIST_OPERATION, REPORT_OPERATION
from gateway.http_api.ops import OpsRoutes
from gateway.http_api.ping import PingRoutes
from gateway.http_api.rhoconnect_push_login import RhoConnectPushLoginRoutes
from gateway.http_api.users import UserRoutes


def routes(context: HandlerContext) -> list[HttpRoute]:
    """The table, with its handlers bound to `context`."""
    table = [
        *_pings(PingRoutes(context), BulkRoutes(context)),
        *_users(UserRoutes(context)),
        *_devices(DeviceRoutes(context)),
        *_rhoconnect_push_logins(RhoConnectPushLoginRoutes(context)),
        *admin_routes(context),
    ]
    own_listener = context.services.settings.metrics.port is not None  # /metrics is then not on this port
    operation = _ops(OpsRoutes(context, {}), metrics=not own_listener)
    entries = installed().entries.values()
    description = describe(
        (
            DescribedRoute(
                route.method,
                route.path,
                route.who,
                route.summary,
                route.operation,
                route.errors,
                route.deprecated,
            )
            for route in (*table, *operation)
        ),
        {entry.name: entry.ping_addition for entry in entries if entry.ping_addition},
    )
    return table + _ops(OpsRoutes(context, description), metrics=not own_listener)


_PING: Final = "Ping users' devices"


def _pings(on: PingRoutes, bulk: BulkRoutes) -> list[HttpRoute]:
    return [
        HttpRoute(
            "POST", "/rc/v1/users/ping", "token", _PING, on.ping, operation=PING_OPERATION, errors=APPENDING
        ),
        # The .NET example of RhoConnect's documentation has this space, and programs in the field have it too.
        HttpRoute(
            "POST",
            "/rc/v1/users%20/ping",
            "token",
            _PING,
            on.ping,
            operation=PING_OPERATION,
            errors=APPENDING,
        ),
        HttpRoute(
            "POST",
            "/api/ping",
            "token",
            _PING,
            on.ping,
            deprecated=True,
            operation=PING_OPERATION,
            errors=APPENDING,
        ),
        HttpRoute(
            "POST",
            "/api/client/ping",
            "token",
            _PING,
            on.ping,
            deprecated=True,
            operation=PING_OPERATION,
            errors=APPENDING,
        ),
        HttpRoute(
            "POST",
            "/rc/v1/pings",
            "header",
            "Many pings, one a line",
            bulk.pings,
            streams=True,
            operation=BULK_OPERATION,
            errors=BULK,
        ),
        HttpRoute(
            "GET", "/rc/v1/pings", "operator", "Pings, the newest first", on.list, operation=LIST_OPERATION
        ),
        HttpRoute(
            "GET",
            "/rc/v1/pings/{ping_id}",
            "operator",
            "What became of a ping",
            on.report,
            operation=REPORT_OPERATION,
        ),
    ]


def _users(on: UserRoutes) -> list[HttpRoute]:
    login, users, create = "Log in as admin and get the API token", "Every login", "Create a user"
    clients, client = "A user's client ids", "A client's fields"
    return [
        HttpRoute(
            "POST",
            "/rc/v1/system/login",
            "login",
            login,
            on.login,
            operation=registry.ADMIN_LOGIN,
            errors=(ApiTokenRefused,),
        ),
        HttpRoute(
            "POST",
            "/login",
            "login",
            login,
            on.login,
            deprecated=True,
            operation=registry.ADMIN_LOGIN,
            errors=(ApiTokenRefused,),
        ),
        HttpRoute(
            "POST",
            "/api/admin/login",
            "login",
            login,
            on.login,
            deprecated=True,
            operation=registry.ADMIN_LOGIN,
            errors=(ApiTokenRefused,),
        ),
        HttpRoute("GET", "/rc/v1/users", "token", users, on.users, operation=registry.USERS),
        HttpRoute("GET", "/rc/v1/users/", "token", users, on.users, operation=registry.USERS),
        HttpRoute(
            "POST", "/api/list_users", "token", users, on.users, deprecated=True, operation=registry.USERS
        ),
        HttpRoute(
            "POST",
            "/api/user/list_users",
            "token",
            users,
            on.users,
            deprecated=True,
            operation=registry.USERS,
        ),
        HttpRoute(
            "POST",
            "/rc/v1/users",
            "token",
            create,
            on.create_user,
            operation=registry.CREATE_USER,
            errors=registry.CREATING,
        ),
        HttpRoute(
            "POST",
            "/api/create_user",
            "token",
            create,
            on.create_user,
            deprecated=True,
            operation=registry.CREATE_USER,
            errors=registry.CREATING,
        ),
        HttpRoute(
            "GET", "/rc/v1/users/{user_id}", "token", "A user's fields", on.show_user, operation=registry.USER
        ),
        HttpRoute(
            "PUT",
            "/rc/v1/users/{user_id}",
            "token",
            "Change a password or email",
            on.update_user,
            operation=registry.UPDATE_USER,
        ),
        HttpRoute(
            "DELETE",
            "/rc/v1/users/{user_id}",
            "token",
            "Delete a user",
            on.delete_user,
            operation=registry.DELETE_USER,
        ),
        HttpRoute(
            "GET",
            "/rc/v1/users/{user_id}/clients",
            "token",
            clients,
            on.user_clients,
            operation=registry.USER_CLIENTS,
        ),
        HttpRoute(
            "POST",
            "/api/list_clients",
            "token",
            clients,
            on.user_clients,
            deprecated=True,
            operation=registry.USER_CLIENTS_BY_PARAMETER,
            errors=registry.NAMING,
        ),
        HttpRoute(
            "POST",
            "/api/client/list_clients",
            "token",
            clients,
            on.user_clients,
            deprecated=True,
            operation=registry.USER_CLIENTS_BY_PARAMETER,
            errors=registry.NAMING,
        ),
        HttpRoute(
            "DELETE",
            "/rc/v1/users/{user_id}/clients/{client_id}",
            "token",
            "Delete a client",
            on.delete_client,
            operation=registry.DELETE_CLIENT,
        ),
        HttpRoute(
            "GET", "/rc/v1/clients/{client_id}", "token", client, on.show_client, operation=registry.CLIENT
        ),
        HttpRoute(
            "POST",
            "/api/get_client_params",
            "token",
            client,
            on.show_client,
            deprecated=True,
            operation=registry.CLIENT_BY_PARAMETER,
            errors=registry.NAMING,
        ),
        HttpRoute(
            "POST",
            "/api/client/get_client_params",
            "token",
            client,
            on.show_client,
            deprecated=True,
            operation=registry.CLIENT_BY_PARAMETER,
            errors=registry.NAMING,
        ),
        HttpRoute(
            "GET",
            "/rc/v1/sources/type/{kind}",
            "token",
            "The names of sources",
            on.sources,
            operation=registry.SOURCES,
        ),
    ]


def _devices(on: DeviceRoutes) -> list[HttpRoute]:
    login, create, register = "Log in on a device", "Create a client", "Register a client for push"
    return [
        HttpRoute(
            "POST",
            "/rc/v1/app/login",
            "login",
            login,
            on.login,
            operation=registry.DEVICE_LOGIN,
            errors=registry.ENTERING,
        ),
        HttpRoute(
            "POST",
            "/application/clientlogin",
            "login",
            login,
            on.login,
            deprecated=True,
            operation=registry.DEVICE_LOGIN,
            errors=registry.ENTERING,
        ),
        HttpRoute(
            "POST",
            "/api/application/clientlogin",
            "login",
            login,
            on.login_with_body,
            deprecated=True,
            operation=registry.DEVICE_LOGIN_WITH_BODY,
            errors=registry.ENTERING,
        ),
        HttpRoute("POST", "/rc/v1/clients", "device", create, on.create, operation=registry.CREATE_CLIENT),
        HttpRoute(
            "GET",
            "/application/clientcreate",
            "device",
            create,
            on.create,
            deprecated=True,
            changes_state=True,
            operation=registry.CREATE_CLIENT_BY_GET,
        ),
        HttpRoute(
            "GET",
            "/api/application/clientcreate",
            "device",
            create,
            on.create,
            deprecated=True,
            changes_state=True,
            operation=registry.CREATE_CLIENT_BY_GET,
        ),
        HttpRoute(
            "POST",
            "/rc/v1/clients/{client_id}/register",
            "device",
            register,
            on.register,
            operation=registry.REGISTER_CLIENT,
        ),
        HttpRoute(
            "POST",
            "/application/clientregister",
            "device",
            register,
            on.register,
            deprecated=True,
            operation=registry.REGISTER_CLIENT_BY_PARAMETER,
        ),
        HttpRoute(
            "POST",
            "/api/application/clientregister",
            "device",
            register,
            on.register,
            deprecated=True,
            operation=registry.REGISTER_CLIENT_BY_PARAMETER,
        ),
    ]


def _rhoconnect_push_logins(on: RhoConnectPushLoginRoutes) -> list[HttpRoute]:
    app, user = "Whether an app may post to the push service", "Whether a device may use the push service"
    return [
        HttpRoute("GET", "/rc/v1/system/rps_login", "login", app, on.app, operation=registry.PUSH_APP_LOGIN),
        HttpRoute("GET", "/rc/v1/app/rps_login", "login", user, on.user, operation=registry.PUSH_USER_LOGIN),
        HttpRoute(
            "GET",
            "/rc/v1/app/ans_login",
            "login",
            user,
            on.user,
            deprecated=True,
            operation=registry.PUSH_USER_LOGIN,
        ),
        HttpRoute(
            "GET", "/ans/login", "login", user, on.user, deprecated=True, operation=registry.PUSH_USER_LOGIN
        ),
    ]


def _ops(on: OpsRoutes, *, metrics: bool) -> list[HttpRoute]:
    scraped = HttpRoute(
        "GET",
        "/metrics",
        "anyone",
        "Prometheus metrics",
        on.metrics,
        operation=process.METRICS,
        errors=(MetricsUnavailable,),
    )
    return [
        HttpRoute(
            "GET", "/healthz", "anyone", "Whether the process lives", on.healthz, operation=process.HEALTHZ
        ),
        HttpRoute(
            "GET",
            "/readyz",
            "anyone",
            "Whether pings can be taken and sent",
            on.readyz,
            operation=process.READYZ,
        ),
        *([scraped] if metrics else []),
        HttpRoute(
            "GET", "/openapi.json", "anyone", "This description", on.openapi, operation=process.OPENAPI
        ),
    ]
