"""The named tokens, and the audit."""

import re
from typing import Final

from aiohttp import web

from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.pages import Pages
from gateway.errors import NotFound, RhoPushError
from gateway.http_api.context import HandlerContext
from gateway.http_api.dependencies import Dependencies
from gateway.registry.audit_log import DONE
from gateway.registry.named_tokens import NamedTokens, new_token
from gateway.registry.scopes import Scope
from protocols.ping.fields import instant_ms

_SEPARATORS: Final = re.compile(r"[\s,]+")


class TokenPages:
    """The routes of named tokens.

    Args:
        context: the state shared by the routes.
        pages: renders them.
    """

    def __init__(self, context: HandlerContext, pages: Pages) -> None:
        self._context = context
        self._pages = pages

    @property
    def _tokens(self) -> NamedTokens:
        tokens = self._context.services.named_tokens
        if tokens is None:
            raise NotFound("this process has no named tokens")
        return tokens

    async def list(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the table of tokens."""
        return await self._page(visit)

    async def create(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Create a token, and show its text once."""
        name = text_field(form, "name").strip()
        scopes = form.get("scopes", [])
        expires = text_field(form, "expires_at").strip()
        outcome = DONE
        try:
            token = new_token(
                name,
                [str(one) for one in scopes] if isinstance(scopes, list) else [str(scopes)],
                [app for app in _SEPARATORS.split(text_field(form, "apps")) if app],
                instant_ms(expires, "expires_at") // 1000 if expires else None,
                visit.principal,
                self._context.services.now(),
            )
            text = await self._tokens.create(token)
        except RhoPushError as error:
            outcome = error.code
            return await self._page(visit, error=error, status=error.status)
        finally:
            await self._context.audit(request, visit.principal, f"POST /console/tokens {name}"[:200], outcome)
        return await self._page(visit, created=(name, text))

    async def revoke(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Revoke a token."""
        name = text_field(form, "name")
        await self._tokens.revoke(name)
        self._context.tokens.clear()
        await self._context.audit(request, visit.principal, f"POST /console/tokens/revoke {name}")
        return redirect("/console/tokens")

    async def _page(
        self,
        visit: Visit,
        *,
        created: tuple[str, str] | None = None,
        error: RhoPushError | None = None,
        status: int = 200,
    ) -> web.Response:
        now_s = self._context.services.now()
        tokens = [
            {
                "name": one.token.name,
                "scopes": one.token.scopes,
                "apps": one.token.apps or (),
                "created_by": one.token.created_by,
                "created_ms": one.token.created_at * 1000,
                "expires_ms": None if one.token.expires_at is None else one.token.expires_at * 1000,
                "expired": one.token.expired(now_s),
                "used_ms": None if one.last_used_at is None else one.last_used_at * 1000,
            }
            for one in await self._tokens.all()
        ]
        return await self._pages.render(
            "tokens.html", status, visit=visit, tokens=tokens, scopes=[*Scope], created=created, error=error
        )


class AuditPage:
    """The route of the audit.

    Args:
        services: the services behind the HTTP API.
        pages: renders it.
    """

    def __init__(self, services: Dependencies, pages: Pages) -> None:
        self._services = services
        self._pages = pages

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return a page of the audit, the newest record first."""
        audit_log = self._services.audit_log
        if audit_log is None:
            raise NotFound("this process has no audit")
        found = await audit_log.page(None, request.query.get("cursor") or None)
        return await self._pages.render("audit.html", visit=visit, found=found)
