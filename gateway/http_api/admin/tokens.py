"""The named API tokens: list, create, revoke."""

from typing import Any, Final

from aiohttp import web

from gateway.errors import NotFound
from gateway.http_api.admin.admin_route import CALLER, SUBJECT, AdminRoute, Parameters, json_content
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import text_of
from gateway.registry.named_tokens import ListedToken, NamedToken, NamedTokens, instant_text, new_token
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_OPTIONAL: Final = {"type": ["string", "null"]}
_SCOPES: Final = {"type": "array", "items": {"type": "string", "enum": [*Scope]}, "minItems": 1}
_TOKEN: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "scopes": _SCOPES,
        "apps": {"type": ["array", "null"], "items": _TEXT, "description": "null: all apps."},
        "created_at": _TEXT,
        "created_by": _TEXT,
        "expires_at": _OPTIONAL,
        "expired": {"type": "boolean"},
        "last_used_at": _OPTIONAL | {"description": "Exact to one minute."},
    },
}
_CREATED: Final[dict[str, Any]] = {
    "type": "object",
    "properties": _TOKEN["properties"] | {"token": _TEXT | {"description": "Shown this once."}},
}
_NEW: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "scopes"],
    "properties": {
        "name": _TEXT | {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
        "scopes": _SCOPES,
        "apps": _TEXTS | {"description": "Limits the token to these apps; absent or empty: all apps."},
        "expires_at": {"type": ["string", "number"]}
        | {"description": "RFC 3339 with a zone, or seconds since 1970; absent: never."},
    },
}


class TokenRoutes:
    """The routes of named tokens.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    @property
    def _tokens(self) -> NamedTokens:
        tokens = self._context.services.named_tokens
        if tokens is None:
            raise NotFound("this process has no named tokens")
        return tokens

    async def list(self, _: web.Request, __: Parameters) -> object:
        """Return all tokens, without their texts."""
        return {"tokens": [self._shown(one) for one in await self._tokens.all()]}

    async def create(self, request: web.Request, found: Parameters) -> object:
        """Create a token, and return its text, this once."""
        name, expires_at = text_of(found, "name"), found.get("expires_at")
        request[SUBJECT] = name
        token = new_token(
            name,
            _texts(found, "scopes"),
            _texts(found, "apps"),
            None if expires_at is None else instant_ms(expires_at, "expires_at") // 1000,
            request[CALLER],
            self._context.services.now(),
        )
        text = await self._tokens.create(token)
        return self._shown(ListedToken(token, None)) | {"token": text}

    async def revoke(self, request: web.Request, _: Parameters) -> object:
        """Revoke a token."""
        name = request.match_info["name"]
        await self._tokens.revoke(name)
        self._context.tokens.clear()
        return {"revoked": name}

    def _shown(self, listed: ListedToken) -> dict[str, Any]:
        token: NamedToken = listed.token
        return {
            "name": token.name,
            "scopes": token.scopes,
            "apps": token.apps,
            "created_at": instant_text(token.created_at),
            "created_by": token.created_by,
            "expires_at": instant_text(token.expires_at),
            "expired": token.expired(self._context.services.now()),
            "last_used_at": instant_text(listed.last_used_at),
        }


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of named tokens."""
    on = TokenRoutes(context)
    body = {"requestBody": {"content": {"application/json": {"schema": _NEW}}}}
    listed = {"type": "object", "properties": {"tokens": {"type": "array", "items": _TOKEN}}}
    revoked = {"type": "object", "properties": {"revoked": _TEXT}}
    return [
        AdminRoute(
            "GET", "/tokens", Scope.ADMIN, "The named tokens", on.list, {"responses": json_content(listed)}
        ),
        AdminRoute(
            "POST",
            "/tokens",
            Scope.ADMIN,
            "Create a named token",
            on.create,
            {**body, "responses": json_content(_CREATED, "The token, with its text")},
        ),
        AdminRoute(
            "DELETE",
            "/tokens/{name}",
            Scope.ADMIN,
            "Revoke a named token",
            on.revoke,
            {"responses": json_content(revoked)},
        ),
    ]


def _texts(found: Parameters, name: str) -> list[str]:
    """Return a list of texts; a text is a list of one.

    Raises:
        InvalidField: the value is something else.
    """
    value = found.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise InvalidField(f"{name} must be a list of texts", field=name)
    return values
