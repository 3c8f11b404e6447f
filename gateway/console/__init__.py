"""The console: web pages for operators under `/console`, served by the HTTP API.

A page is rendered by the gateway (`pages`), and its scripts read live data from server-sent events (`streams`). Every
handler is wrapped by `guard`, which checks session, scope and CSRF token. The pages use the services of the HTTP API;
they have no access to Redis that the routes do not have, except to the console's own sessions and time series.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from gateway.console.api_page import ApiPage
from gateway.console.assets import ASSETS_PATH, Assets
from gateway.console.demo import DemoPages
from gateway.console.device_page import Deliveries, DevicePage
from gateway.console.guard import LOGIN_PATH, Guard, Visit, redirect
from gateway.console.identities import Identities
from gateway.console.login import LoginPages
from gateway.console.navigation import DEMO, PING_FORM, WEBHOOKS, links_of
from gateway.console.overview import OverviewPages, OverviewReader
from gateway.console.pages import Pages
from gateway.console.ping_form import PingForm
from gateway.console.ping_pages import PingPages, Tries
from gateway.console.recorder import History, Reports
from gateway.console.sessions import ConsoleSessions
from gateway.console.settings_page import SettingsPage
from gateway.console.streams import LiveStreams
from gateway.console.token_pages import AuditPage, TokenPages
from gateway.console.user_pages import UserPages
from gateway.console.webhook_page import WebhookPage, has_webhooks
from gateway.errors import NotFound
from gateway.http_api.context import HandlerContext
from gateway.http_api.http_route import Handler, HttpRoute
from gateway.http_api.requests import json_response
from gateway.http_api.routes import openapi_document
from gateway.registry.scopes import Scope

_READ: Final = (Scope.READ,)
_PING: Final = (Scope.PING,)
_DEVICES: Final = (Scope.DEVICES,)
_ADMIN: Final = (Scope.ADMIN,)
_ANY: Final[tuple[Scope, ...]] = ()
ALIVE_PATH: Final = "/console/alive"


class ConsoleStores(NamedTuple):
    """The parts of Redis that the console reads beside the services of the HTTP API.

    Attributes:
        reports: the reports of all workers.
        history: the time series.
        tries: the records of receipts.
        deliveries: finds the deliveries to devices.
    """

    reports: Reports
    history: History
    tries: Tries
    deliveries: Deliveries


def console_routes(stores: ConsoleStores) -> Callable[[HandlerContext], list[HttpRoute]]:
    """Return a function that makes the routes of the console for a HTTP API."""
    return lambda context: _Console(context, stores).routes()


class _Console:
    """All pages of one process."""

    def __init__(self, context: HandlerContext, stores: ConsoleStores) -> None:
        services = context.services
        self._demo_wanted = services.settings.console.demo
        self._assets = Assets()
        has = {WEBHOOKS: has_webhooks(services), DEMO: self._demo_wanted}
        absent = frozenset(path for path, there in has.items() if not there)
        self._pages = Pages(self._assets, lambda visit: links_of(visit, absent))
        sessions, identities = ConsoleSessions(services.redis), Identities(context)
        context.close_with(sessions.close)
        self._guard = Guard(context, self._pages, sessions, identities)
        streams = LiveStreams(self._guard)
        self._login = LoginPages(context, self._pages, sessions, identities)
        reader = OverviewReader(services, stores.reports, stores.history)
        self._overview = OverviewPages(context, self._pages, reader, streams)
        self._form = PingForm(context, self._pages)
        self._pings = PingPages(context, self._pages, streams, stores.tries)
        self._users = UserPages(context, self._pages)
        self._tokens = TokenPages(context, self._pages)
        self._devices = DevicePage(context, self._pages, stores.deliveries)
        self._audit = AuditPage(context, self._pages)
        self._webhooks = WebhookPage(context, self._pages)
        self._settings = SettingsPage(context, self._pages)
        self._api = ApiPage(context, self._pages, lambda: openapi_document(context))
        self._demo = DemoPages(context, self._pages, streams)

    def routes(self) -> list[HttpRoute]:
        """The table of the console's routes."""
        guard = self._guard
        table = [
            _route("GET", ASSETS_PATH, self._assets.answer),
            _route("GET", LOGIN_PATH, self._login.form),
            self._form_route(LOGIN_PATH, self._login.log_in),
            self._form_route("/console/logout", guard.action(_ANY, self._login.log_out, honours_apps=True)),
            _route("GET", "/console", guard.page(_ANY, self._home, honours_apps=True)),
            _route("GET", "/console/", guard.page(_ANY, self._home, honours_apps=True)),
            _route("GET", "/console/series/{name}", guard.fragment(_READ, self._overview.series)),
            _route("GET", "/console/live/overview", guard.fragment(_READ, self._overview.live)),
            _route("GET", "/console/lanes", guard.page(_READ, self._overview.lanes)),
            self._form_route("/console/lanes/reset", guard.action(_ADMIN, self._overview.reset)),
            _route("GET", "/console/ping", guard.page(PING_FORM, self._form.form, honours_apps=True)),
            self._form_route("/console/ping", guard.action(PING_FORM, self._form.submit, honours_apps=True)),
            _route("GET", "/console/settings", guard.page(_READ, self._settings.show)),
            _route("GET", "/console/api", guard.page(_ANY, self._api.show, honours_apps=True)),
            _route("GET", ALIVE_PATH, guard.fragment(_ANY, self._alive, honours_apps=True)),
        ]
        return [
            *table,
            *self._ping_routes(),
            *self._user_routes(),
            *self._admin_routes(),
            *self._demo_routes(),
            _route("GET", "/console/{path:.*}", guard.page(_ANY, self._nowhere, honours_apps=True)),
        ]

    def _ping_routes(self) -> list[HttpRoute]:
        guard, on = self._guard, self._pings
        return [
            _route("GET", "/console/pings", guard.page(_READ, on.list, honours_apps=True)),
            _route("GET", "/console/pings/find", guard.page(_READ, on.find, honours_apps=True)),
            self._form_route(
                "/console/pings/{ping_id}/cancel", guard.action(_PING, on.cancel, honours_apps=True)
            ),
            _route("GET", "/console/pings/{ping_id}", guard.page(_READ, on.show, honours_apps=True)),
            _route(
                "GET", "/console/pings/{ping_id}/story", guard.fragment(_READ, on.fragment, honours_apps=True)
            ),
            _route("GET", "/console/pings/{ping_id}/live", guard.fragment(_READ, on.live, honours_apps=True)),
        ]

    def _user_routes(self) -> list[HttpRoute]:
        guard, on = self._guard, self._users
        return [
            _route("GET", "/console/users", guard.page(_READ, on.search)),
            _route("GET", "/console/users/search", guard.fragment(_READ, on.part)),
            _route("GET", "/console/users/{user_id}", guard.page(_READ, on.show)),
            self._form_route("/console/users/{user_id}/restore", guard.action(_DEVICES, on.restore)),
            _route("GET", "/console/devices/{client_id}", guard.page(_READ, self._devices.show)),
        ]

    def _admin_routes(self) -> list[HttpRoute]:
        guard, tokens = self._guard, self._tokens
        return [
            _route("GET", "/console/tokens", guard.page(_ADMIN, tokens.list)),
            self._form_route("/console/tokens", guard.action(_ADMIN, tokens.create)),
            self._form_route("/console/tokens/revoke", guard.action(_ADMIN, tokens.revoke)),
            _route("GET", "/console/audit", guard.page(_ADMIN, self._audit.show)),
            _route("GET", "/console/webhooks", guard.page(_READ, self._webhooks.show)),
            self._form_route("/console/webhooks/test", guard.action(_ADMIN, self._webhooks.test)),
            self._form_route("/console/webhooks/replay", guard.action(_ADMIN, self._webhooks.replay)),
        ]

    def _demo_routes(self) -> list[HttpRoute]:
        if not self._demo_wanted:
            return []
        guard, on = self._guard, self._demo
        return [
            _route("GET", "/console/demo", guard.page(_READ, on.show)),
            _route("POST", "/console/demo/pushes", on.receive),
            _route("GET", "/console/live/demo", guard.fragment(_READ, on.live)),
        ]

    def _form_route(self, path: str, handler: Handler) -> HttpRoute:
        return _route("POST", path, handler)._replace(refusal=self._guard.refuse)

    async def _home(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Show the overview, or the first page that the caller may see."""
        if visit.can(Scope.READ) and not visit.limited:
            return await self._overview.overview(request, visit)
        if visit.can(Scope.PING, Scope.BROADCAST):
            return redirect("/console/ping")
        return redirect("/console/pings" if visit.can(Scope.READ) else "/console/api")

    async def _alive(self, _: web.Request, visit: Visit) -> web.StreamResponse:
        """Answer a page that asks whether the gateway and the session are there."""
        return json_response(visit.about)

    async def _nowhere(self, _: web.Request, __: Visit) -> web.StreamResponse:
        """Answer with the page of an error: there is no such page."""
        raise NotFound("there is no such page")


def _route(method: str, path: str, handler: Handler) -> HttpRoute:
    return HttpRoute(method, path, "session", "A page of the console", handler)
