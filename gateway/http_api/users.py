"""RhoConnect's admin routes: users and their clients (contract §2). All require an admin's API token."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from aiohttp import web

from gateway.errors import ApiTokenRefused, LoginRefused, NotFound
from gateway.http_api import responses
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import parameters, text_of, text_response
from gateway.registry.accounts import User
from protocols.errors import InvalidField


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
        login, user = await context.credentials(request, await parameters(request, context.services))
        if user is None:
            raise LoginRefused(f"Unable to authenticate '{login}'")
        if not user.admin:
            raise ApiTokenRefused("Invalid/missing API user")
        answer = text_response(await context.accounts.admin_token(user))
        await context.begin_session(request, answer, user, admin=True)
        return answer

    async def users(self, request: web.Request) -> web.Response:
        """Return all logins."""
        await self._admin(request)
        return _array(await self._context.accounts.logins())

    async def show_user(self, request: web.Request) -> web.Response:
        """Return one user's fields. Secrets that RhoConnect shows (salt, hash, token) are null."""
        found = await self._admin(request)
        user = await self._user(_named(request, found, "user_id"))
        clients = await self._context.clients.of_user(user.login)
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
        attributes = _attributes(await self._admin(request))
        login, password = text_of(attributes, "login"), text_of(attributes, "password")
        await self._context.accounts.create(login, password)
        return text_response("User created")

    async def update_user(self, request: web.Request) -> web.Response:
        """Change the password or email."""
        found = await self._admin(request)
        await self._context.accounts.update(_named(request, found, "user_id"), _attributes(found))
        return text_response("User updated")

    async def delete_user(self, request: web.Request) -> web.Response:
        """Delete a user, including clients and token."""
        found = await self._admin(request)
        await self._context.accounts.delete(_named(request, found, "user_id"))
        self._context.tokens.clear()
        return text_response("User deleted")

    async def user_clients(self, request: web.Request) -> web.Response:
        """Return the client ids of a user."""
        found = await self._admin(request)
        user = await self._user(_named(request, found, "user_id"))
        return _array(await self._context.clients.of_user(user.login))

    async def delete_client(self, request: web.Request) -> web.Response:
        """Delete a client."""
        await self._admin(request)
        path = request.match_info
        await self._user(path["user_id"])
        await self._context.clients.delete(path["user_id"], path["client_id"])
        return text_response("Client deleted")

    async def show_client(self, request: web.Request) -> web.Response:
        """Return one client's fields, in RhoConnect's order."""
        found = await self._admin(request)
        fields = await self._context.clients.show(_named(request, found, "client_id"))
        return _array([_shown(name, value) for name, value in fields.items()])

    async def sources(self, request: web.Request) -> web.Response:
        """Return the names of sources by their partition: `user`, `app` or `all`."""
        await self._admin(request)
        kind = request.match_info["kind"]
        sources = self._context.services.settings.sources
        return _array([name for name, source in sources.items() if kind in ("all", source.partition_type)])

    async def _admin(self, request: web.Request) -> dict[str, Any]:
        found = await parameters(request, self._context.services)
        await self._context.require_admin(request, found)
        return found

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
        raise InvalidField("attributes must be an object", field="attributes")
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
