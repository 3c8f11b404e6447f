"""RhoConnect's admin routes: users and their clients (contract §2). All require an API token."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from aiohttp import web

from gateway.errors import ApiTokenRefused, LoginRefused, NotFound, RhoPushError
from gateway.http_api import responses
from gateway.http_api.app_limits import require_all_apps, require_visible, visible_clients
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import parameters, text_of, text_response
from gateway.registry.accounts import User
from gateway.registry.scopes import Principal, Scope, require_scope
from protocols.errors import wrong_type


class RecordField(TypedDict):
    """One field of a user or client."""

    name: str
    type: Literal["string", "set", "integer", "datetime"]
    value: Any


class UserRoutes:
    """The routes of users, their clients, and the admin's login.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def login(self, request: web.Request) -> web.Response:
        """Log an admin in, and return the API token as the response body."""
        context = self._context
        found = await parameters(request, context.services)
        try:
            user = await self._admin(request, found)
        except RhoPushError as error:
            login = found.get("login")
            await context.audit_login(request, login if isinstance(login, str) else "", error.code)
            raise
        await context.audit_login(request, user.login)
        answer = text_response(context.accounts.admin_token(user))
        await context.begin_session(request, answer, user, admin=True)
        return answer

    async def _admin(self, request: web.Request, found: dict[str, Any]) -> User:
        """Return the admin whose login and password the request has."""
        login, user = await self._context.credentials(request, found)
        if user is None:
            raise LoginRefused(f"Unable to authenticate '{login}'")
        if not user.admin:
            raise ApiTokenRefused("Invalid/missing API user")
        return user

    async def users(self, request: web.Request) -> web.Response:
        """Return all logins."""
        await self._authorize(request)
        return _array(await self._context.accounts.logins())

    async def show_user(self, request: web.Request) -> web.Response:
        """Return one user's fields. Secrets that RhoConnect shows (salt, hash, token) are null."""
        found, caller = await self._authorize(request)
        user = await self._user(_named(request, found, "user_id"))
        clients = await self._clients_of(user, caller)
        fields = (
            RecordField(name="rho__id", type="string", value=user.login),
            RecordField(name="login", type="string", value=user.login),
            RecordField(name="email", type="string", value=user.email),
            RecordField(name="salt", type="string", value=None),
            RecordField(name="hashed_password", type="string", value=None),
            RecordField(name="clients", type="set", value=clients),
            RecordField(name="admin", type="integer", value=int(user.admin)),
            RecordField(name="token_id", type="string", value=None),
        )
        return _array(fields)

    async def create_user(self, request: web.Request) -> web.Response:
        """Create a user; `attributes` holds login and password."""
        found, caller = await self._authorize(request)
        attributes = _attributes(found)
        login, password = text_of(attributes, "login"), text_of(attributes, "password")
        async with self._context.audited(request, caller, f"create user {login}"):
            await self._context.accounts.create(login, password)
        return text_response("User created")

    async def update_user(self, request: web.Request) -> web.Response:
        """Change the password or email."""
        found, caller = await self._authorize(request)
        login = _named(request, found, "user_id")
        async with self._context.audited(request, caller, f"update user {login}"):
            await self._require_change(caller, login)
            await self._context.accounts.update(login, _attributes(found))
        return text_response("User updated")

    async def delete_user(self, request: web.Request) -> web.Response:
        """Delete a user, including clients and token."""
        found, caller = await self._authorize(request)
        login = _named(request, found, "user_id")
        async with self._context.audited(request, caller, f"delete user {login}"):
            await self._require_change(caller, login)
            await self._context.accounts.delete(login)
        self._context.tokens.clear()
        return text_response("User deleted")

    async def user_clients(self, request: web.Request) -> web.Response:
        """Return the client ids of a user."""
        found, caller = await self._authorize(request)
        user = await self._user(_named(request, found, "user_id"))
        return _array(await self._clients_of(user, caller))

    async def delete_client(self, request: web.Request) -> web.Response:
        """Delete a client."""
        _, caller = await self._authorize(request)
        path = request.match_info
        async with self._context.audited(request, caller, f"delete client {path['client_id']}"):
            await self._user(path["user_id"])
            await require_visible(caller, self._context.clients, path["client_id"])
            await self._context.clients.delete(path["user_id"], path["client_id"])
        return text_response("Client deleted")

    async def show_client(self, request: web.Request) -> web.Response:
        """Return one client's fields, in RhoConnect's order."""
        found, caller = await self._authorize(request)
        client_id = _named(request, found, "client_id")
        fields = await self._context.clients.show(client_id)
        await require_visible(caller, self._context.clients, client_id)
        return _array([_shown(name, value) for name, value in fields.items()])

    async def sources(self, request: web.Request) -> web.Response:
        """Return the names of sources by their partition: `user`, `app` or `all`."""
        await self._authorize(request, Scope.READ)
        kind = request.match_info["kind"]
        sources = self._context.services.settings.sources
        return _array([name for name, source in sources.items() if kind in ("all", source.partition_type)])

    async def _authorize(
        self, request: web.Request, scope: Scope = Scope.DEVICES
    ) -> tuple[dict[str, Any], Principal]:
        """Return the parameters, and the caller that has the API token. Raises ApiTokenRefused, ScopeMissing."""
        found = await parameters(request, self._context.services)
        caller = await self._context.token_principal(request, found)
        require_scope(caller, scope)
        return found, caller

    async def _clients_of(self, user: User, caller: Principal) -> list[str]:
        clients = self._context.clients
        return await visible_clients(caller, clients, await clients.of_user(user.login))

    async def _require_change(self, caller: Principal, login: str) -> None:
        """Require that the caller may change or delete a user. An admin's password gives access to every scope.

        Raises:
            AppNotAllowed: the caller is limited to apps.
            ScopeMissing: the user is an admin, and the caller lacks the scope `admin`.
            StoreDown: Redis does not answer.
        """
        require_all_apps(caller)
        user = await self._context.accounts.user(login)
        if user is not None and user.admin:
            require_scope(caller, Scope.ADMIN)

    async def _user(self, login: str) -> User:
        user = await self._context.accounts.user(login)
        if user is None:
            raise NotFound("there is no such user", field="user_id")
        return user


def _named(request: web.Request, found: dict[str, Any], name: str) -> str:
    """Return an id from the path, or, on RhoConnect's older routes, from the parameters."""
    return request.match_info.get(name) or text_of(found, name)


def _attributes(found: Mapping[str, Any]) -> dict[str, Any]:
    attributes = found.get("attributes")
    if attributes is None:
        return {}
    if not isinstance(attributes, dict):
        raise wrong_type("attributes", "an object", attributes)
    return attributes


def _shown(name: str, value: str | None) -> RecordField:
    if name != "last_sync":
        return RecordField(name=name, type="string", value=value)
    return RecordField(name=name, type="datetime", value=_instant(value) if value else None)


def _instant(text: str) -> str:
    """Return `2026-11-24T10:00:00+0000` in the form of RhoConnect's JSON: with a colon in the zone."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").isoformat()
    except ValueError:
        return text


def _array(value: Sequence[Any]) -> web.Response:
    return responses.response(responses.of_html_json(value))
