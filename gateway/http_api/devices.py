"""Login and registration of devices (contract §2.1).

The setting `auth.devices` decides who may register; an admin's API token always may.
"""

from typing import Any, TypedDict
from urllib.parse import quote

from aiohttp import web

from gateway.errors import LoginRefused, NotAllowed, NotFound
from gateway.http_api import responses
from gateway.http_api.app_limits import require_registration
from gateway.http_api.context import HandlerContext, client_of
from gateway.http_api.requests import (
    API_HEADER,
    json_response,
    named_client,
    parameters,
    text_of,
    text_response,
)
from gateway.http_api.sessions import COOKIE
from gateway.registry.accounts import User
from gateway.registry.scopes import Scope, require_scope


class ClientId(TypedDict):
    """The id of a client."""

    client_id: str


class CreatedClient(TypedDict):
    """A client that was created."""

    client: ClientId


class DeviceRoutes:
    """The routes that devices call.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def login(self, request: web.Request) -> web.Response:
        """Log a user in on a device, and set a session cookie."""
        user = await self._enter(request)
        answer = text_response("")
        await self._context.begin_session(request, answer, user, admin=False)
        return answer

    async def login_with_body(self, request: web.Request) -> web.Response:
        """Log a user in on RhoConnect's older route, which also returns the cookie in the body."""
        user = await self._enter(request)
        answer = text_response("")
        value = await self._context.begin_session(request, answer, user, admin=False)
        answer.body = responses.html_safe_json({COOKIE: quote(f"{COOKIE}={value}", safe="")})
        return answer

    async def create(self, request: web.Request) -> web.Response:
        """Create a client of the session's user."""
        found = await parameters(request, self._context.services)
        login = await self._login(request, found, "")
        client_id = await self._context.clients.create(login, found)
        return json_response(CreatedClient(client=ClientId(client_id=client_id)))

    async def register(self, request: web.Request) -> web.Response:
        """Store the fields that a client registers: device type, push token, phone id, app."""
        found = await parameters(request, self._context.services)
        client_id = named_client(request, found)
        login = await self._login(request, found, client_id)
        await self._context.clients.register(login, client_id, found)
        return text_response("")

    async def _enter(self, request: web.Request) -> User:
        """Check a login by `auth.devices`; with `open`, an unknown user is created."""
        context = self._context
        mode = context.services.settings.auth.devices
        found = await parameters(request, context.services)
        self._must_be_on()
        if mode == "redis":
            login, checked = await context.credentials(request, found)
            if checked is None:
                raise LoginRefused(f"Unable to authenticate '{login}'")
            return checked
        login = text_of(found, "login")
        if not login:
            raise LoginRefused(f"Unable to authenticate '{login}'")
        most = context.services.settings.limits.users
        return await context.accounts.user_or_new(login, text_of(found, "password"), client_of(request), most)

    async def _login(self, request: web.Request, found: dict[str, Any], client_id: str) -> str:
        """Return the login of the device's user: the session's user, or the user that an admin's token names.

        With a token and without `user_id`, an existing client keeps its user.
        """
        context = self._context
        if request.headers.get(API_HEADER) or found.get("api_token"):
            caller = await context.token_principal(request, found)
            require_scope(caller, Scope.DEVICES)
            await require_registration(caller, context.clients, client_id, found)
            login = text_of(found, "user_id")
            if not login and client_id:
                login = (await context.clients.show(client_id))["user_id"] or ""
            if await context.accounts.user(login) is None:
                raise NotFound("there is no such user", field="user_id")
            return login
        self._must_be_on()
        return (await context.require_device(request)).login

    def _must_be_on(self) -> None:
        if self._context.services.settings.auth.devices == "off":
            raise NotAllowed("devices cannot register: the setting auth.devices is off")
