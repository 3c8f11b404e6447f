"""The table of all routes: path, authentication, and handler.

`deprecated` marks RhoConnect's older names: the same handler, with the Warning header that RhoConnect sends
(contract §1, §2). The OpenAPI document is generated from this table, so that both always agree.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from gateway.delivery.provider_registry import installed
from gateway.errors import ApiTokenRefused, MetricsUnavailable
from gateway.http_api.acknowledgement import acknowledgement_route
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
from gateway.http_api.ping_cancel import cancel_route
from gateway.http_api.rhoconnect_push_login import RhoConnectPushLoginRoutes
from gateway.http_api.users import UserRoutes


def routes(context: HandlerContext) -> list[HttpRoute]:
    """The table, with its handlers bound to `context`."""
    table = _table(context)

    @cache  # built when first read: it takes longer than everything else that opens the API
    def description() -> dict[str, Any]:
        return _description(table)

    table += _operation(context, description)
    return table


def openapi_document(context: HandlerContext) -> dict[str, Any]:
    """The OpenAPI document of the table."""
    return _description(routes(context))


def _table(context: HandlerContext) -> list[HttpRoute]:
    on_users = UserRoutes(context)
    return [
        *_pings(PingRoutes(context), BulkRoutes(context)),
        cancel_route(context),
        *_users(on_users),
        *_clients(on_users),
        *_sources(on_users),
        *_devices(DeviceRoutes(context)),
        acknowledgement_route(context),
        *_rhoconnect_push_logins(RhoConnectPushLoginRoutes(context)),
        *admin_routes(context),
    ]


def _operation(context: HandlerContext, description: Callable[[], dict[str, Any]]) -> list[HttpRoute]:
    own_listener = context.services.settings.metrics.port is not None  # /metrics is then not on this port
    return _ops(OpsRoutes(context, description), metrics=not own_listener)


def _description(table: list[HttpRoute]) -> dict[str, Any]:
    entries = installed().entries.values()
    return describe(
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
            for route in table
        ),
        {entry.name: entry.ping_addition for entry in entries if entry.ping_addition},
        [entry.name for entry in entries],
    )


_PING: Final = "Ping users' devices"


def _pings(on: PingRoutes, bulk: BulkRoutes) -> list[HttpRoute]:
    ping = HttpRoute(
        "POST", "/rc/v1/users/ping", "token", _PING, on.ping, operation=PING_OPERATION, errors=APPENDING
    )
    bulk_summary, list_summary, report = (
        "Many pings, one a line",
        "Pings, the newest first",
        "Receipt of a ping",
    )
    pings, one = "/rc/v1/pings", "/rc/v1/pings/{ping_id}"
    return [
        ping,
        # The .NET example of RhoConnect's documentation has this space, and programs in the field have it too.
        ping._replace(path="/rc/v1/users%20/ping"),
        *_older(ping, "/api/ping", "/api/client/ping"),
        HttpRoute(
            "POST",
            pings,
            "header",
            bulk_summary,
            bulk.pings,
            streams=True,
            operation=BULK_OPERATION,
            errors=BULK,
        ),
        HttpRoute("GET", pings, "operator", list_summary, on.list, operation=LIST_OPERATION),
        HttpRoute("GET", one, "operator", report, on.report, operation=REPORT_OPERATION),
    ]


def _older(route: HttpRoute, *paths: str, operation: Mapping[str, Any] | None = None) -> list[HttpRoute]:
    """Return a route under its older names. `operation`: where the older names take an id as a parameter."""
    own = route.operation if operation is None else operation
    errors = route.errors if operation is None else (*route.errors, *registry.NAMING)
    return [route._replace(path=path, deprecated=True, operation=own, errors=errors) for path in paths]


def _users(on: UserRoutes) -> list[HttpRoute]:
    login = HttpRoute(
        "POST",
        "/rc/v1/system/login",
        "login",
        "Log in as admin and get the API token",
        on.login,
        operation=registry.ADMIN_LOGIN,
        errors=(ApiTokenRefused,),
    )
    users = HttpRoute("GET", "/rc/v1/users", "token", "Every login", on.users, operation=registry.USERS)
    create = HttpRoute(
        "POST",
        "/rc/v1/users",
        "token",
        "Create a user",
        on.create_user,
        operation=registry.CREATE_USER,
        errors=registry.CREATING,
    )
    one, change = "/rc/v1/users/{user_id}", "Change a password or email"
    return [
        login,
        *_older(login, "/login", "/api/admin/login"),
        users,
        users._replace(path="/rc/v1/users/"),
        *_older(users._replace(method="POST"), "/api/list_users", "/api/user/list_users"),
        create,
        *_older(create, "/api/create_user"),
        HttpRoute("GET", one, "token", "A user's fields", on.show_user, operation=registry.USER),
        HttpRoute("PUT", one, "token", change, on.update_user, operation=registry.UPDATE_USER),
        HttpRoute("DELETE", one, "token", "Delete a user", on.delete_user, operation=registry.DELETE_USER),
    ]


def _clients(on: UserRoutes) -> list[HttpRoute]:
    of_user = HttpRoute(
        "GET",
        "/rc/v1/users/{user_id}/clients",
        "token",
        "A user's client ids",
        on.user_clients,
        operation=registry.USER_CLIENTS,
    )
    one = HttpRoute(
        "GET",
        "/rc/v1/clients/{client_id}",
        "token",
        "A client's fields",
        on.show_client,
        operation=registry.CLIENT,
    )
    delete = HttpRoute(
        "DELETE",
        "/rc/v1/users/{user_id}/clients/{client_id}",
        "token",
        "Delete a client",
        on.delete_client,
        operation=registry.DELETE_CLIENT,
    )
    return [
        of_user,
        *_older(
            of_user._replace(method="POST"),
            "/api/list_clients",
            "/api/client/list_clients",
            operation=registry.USER_CLIENTS_BY_PARAMETER,
        ),
        delete,
        one,
        *_older(
            one._replace(method="POST"),
            "/api/get_client_params",
            "/api/client/get_client_params",
            operation=registry.CLIENT_BY_PARAMETER,
        ),
    ]


def _sources(on: UserRoutes) -> list[HttpRoute]:
    path, summary = "/rc/v1/sources/type/{kind}", "The names of sources"
    return [HttpRoute("GET", path, "token", summary, on.sources, operation=registry.SOURCES)]


def _device_logins(on: DeviceRoutes) -> list[HttpRoute]:
    login = HttpRoute(
        "POST",
        "/rc/v1/app/login",
        "login",
        "Log in on a device",
        on.login,
        operation=registry.DEVICE_LOGIN,
        errors=registry.ENTERING,
    )
    with_body = login._replace(handler=on.login_with_body, operation=registry.DEVICE_LOGIN_WITH_BODY)
    return [
        login,
        *_older(login, "/application/clientlogin"),
        *_older(with_body, "/api/application/clientlogin"),
    ]


def _devices(on: DeviceRoutes) -> list[HttpRoute]:
    create = HttpRoute(
        "POST", "/rc/v1/clients", "device", "Create a client", on.create, operation=registry.CREATE_CLIENT
    )
    by_get = create._replace(method="GET", changes_state=True, operation=registry.CREATE_CLIENT_BY_GET)
    register = HttpRoute(
        "POST",
        "/rc/v1/clients/{client_id}/register",
        "device",
        "Register a client for push",
        on.register,
        operation=registry.REGISTER_CLIENT,
    )
    return [
        *_device_logins(on),
        create,
        *_older(by_get, "/application/clientcreate", "/api/application/clientcreate"),
        register,
        *_older(
            register,
            "/application/clientregister",
            "/api/application/clientregister",
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
