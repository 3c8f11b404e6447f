"""The named API tokens: list, create, revoke."""

from typing import Any, Final

from aiohttp import web

from gateway.errors import NameTaken, NotFound
from gateway.http_api.admin.admin_route import CALLER, SUBJECT, AdminRoute, Parameters, responds
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import (
    FLAG,
    INSTANT,
    OPTIONAL_TIME,
    TEXT,
    Part,
    json_body,
    list_of,
    members,
)
from gateway.http_api.requests import text_of
from gateway.registry.named_tokens import (
    APPS_MAX,
    NAME,
    ListedToken,
    NamedToken,
    NamedTokens,
    instant_text_of_s,
    new_token,
)
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.fields import instant_ms

_SCOPES: Final = list_of(TEXT | {"enum": [*Scope]}) | {"minItems": 1}
_PROPERTIES: Final[dict[str, Part]] = {
    "name": TEXT,
    "scopes": list_of(TEXT) | {"description": "A later version may have further ones."},
    "apps": {"type": ["array", "null"], "items": TEXT, "description": "null: all apps."},
    "created_at": OPTIONAL_TIME,
    "created_by": TEXT,
    "expires_at": OPTIONAL_TIME,
    "expired": FLAG,
    "last_used_at": OPTIONAL_TIME | {"description": "Exact to one minute."},
}
_LISTED: Final = members({"tokens": list_of(members(_PROPERTIES))})
_CREATED: Final = members(_PROPERTIES | {"token": TEXT | {"description": "Shown only in this response."}})
_REVOKED: Final = members({"revoked": TEXT})
_NEW: Final[Part] = {
    "type": "object",
    "required": ["name", "scopes"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT | {"pattern": f"^{NAME.pattern}$"},
        "scopes": _SCOPES,
        "apps": list_of(TEXT | {"minLength": 1, "maxLength": 255})
        | {
            "minItems": 1,
            "maxItems": APPS_MAX,
            "description": "Limits the token to these apps; absent: all apps.",
        },
        "expires_at": INSTANT
        | {"description": "RFC 3339 with a zone, or seconds since 1970, in the future; absent: never."},
    },
}
_EXAMPLE: Final = {
    "name": "deploy",
    "scopes": ["ping", "read"],
    "apps": None,
    "created_at": "2030-01-31T09:30:00Z",
    "created_by": "api_token",
    "expires_at": "2031-01-31T09:30:00Z",
    "expired": False,
    "last_used_at": None,
}
_EXAMPLE_NEW: Final = {
    "name": "deploy",
    "scopes": ["ping", "read"],
    "expires_at": "2031-01-31T09:30:00Z",
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
            _apps(found),
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
            "created_at": instant_text_of_s(token.created_at),
            "created_by": token.created_by,
            "expires_at": instant_text_of_s(token.expires_at),
            "expired": token.expired(self._context.services.now()),
            "last_used_at": instant_text_of_s(listed.last_used_at),
        }


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of named tokens."""
    on = TokenRoutes(context)
    return [
        AdminRoute(
            "GET",
            "/tokens",
            Scope.ADMIN,
            "The named tokens",
            on.list,
            responds(_LISTED, {"tokens": [_EXAMPLE]}),
        ),
        AdminRoute(
            "POST",
            "/tokens",
            Scope.ADMIN,
            "Create a named token",
            on.create,
            responds(
                _CREATED,
                _EXAMPLE | {"token": "the-text-of-the-token"},
                "The token, with its text",
                requestBody=json_body(_NEW, _EXAMPLE_NEW, form=False),
            ),
            errors=(NotFound, NameTaken),
        ),
        AdminRoute(
            "DELETE",
            "/tokens/{name}",
            Scope.ADMIN,
            "Revoke a named token",
            on.revoke,
            responds(_REVOKED, {"revoked": "deploy"}),
        ),
    ]


def _apps(found: Parameters) -> list[str]:
    """Return the apps to which a token is limited; empty: the request has no limit.

    Raises:
        InvalidField: the value is no list of texts, or an empty one: a caller whose list of apps is empty by mistake
            must not get a token for all apps.
    """
    apps = _texts(found, "apps")
    if not apps and found.get("apps") is not None:
        raise InvalidField(
            "apps must have at least one app id; without apps, a token has no limit", field="apps"
        )
    return apps


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
