"""The named tokens, and the audit."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.page_set import PageSet
from gateway.errors import NotFound, RhoPushError
from gateway.http_api.admin.admin_route import SUBJECT
from gateway.registry.named_tokens import NamedTokens, new_token
from gateway.registry.scopes import Scope
from protocols.ping.fields import instant_ms

_SEPARATORS: Final = re.compile(r"[\s,]+")
_EMPTY: Final[Mapping[str, Any]] = {"name": "", "scopes": (), "apps": "", "expires_at": ""}
"""The form of a new token."""


class TokenPages(PageSet):
    """The routes of named tokens."""

    @property
    def _tokens(self) -> NamedTokens:
        tokens = self._services.named_tokens
        if tokens is None:
            raise NotFound("this process has no named tokens")
        return tokens

    async def list(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the table of tokens."""
        return await self._table(visit)

    async def create(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Create a token, and show its text once."""
        name = text_field(form, "name").strip()
        scopes = form.get("scopes", [])
        expires = text_field(form, "expires_at").strip()
        values: dict[str, Any] = {
            "name": name,
            "scopes": [str(one) for one in scopes] if isinstance(scopes, list) else [str(scopes)],
            "apps": text_field(form, "apps"),
            "expires_at": expires,
        }
        try:
            token = new_token(
                name,
                values["scopes"],
                [app for app in _SEPARATORS.split(values["apps"]) if app],
                instant_ms(expires, "expires_at") // 1000 if expires else None,
                visit.principal,
                self._services.now(),
            )
            text = await self._tokens.create(token)
        except RhoPushError as error:
            await self.audit(request, visit, f"/tokens {name}", error.code)
            return await self._table(visit, error=error, values=values)
        await self.audit(request, visit, f"/tokens {name}")
        return await self._table(visit, created=(name, text))

    async def revoke(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Revoke a token."""
        name = request[SUBJECT] = text_field(form, "name")
        await self._tokens.revoke(name)
        self._context.tokens.clear()
        await self.audit(request, visit, f"/tokens/revoke {name}")
        return redirect("/console/tokens")

    async def _table(
        self,
        visit: Visit,
        *,
        created: tuple[str, str] | None = None,
        error: RhoPushError | None = None,
        values: Mapping[str, Any] = _EMPTY,
    ) -> web.Response:
        now_s = self._services.now()
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
        return await self.page(
            "tokens.html",
            visit,
            error=error,
            tokens=tokens,
            scopes=[*Scope],
            created=created,
            values=values,
        )


class AuditPage(PageSet):
    """The route of the audit."""

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return a page of the audit, the newest record first."""
        audit_log = self._services.audit_log
        if audit_log is None:
            raise NotFound("this process has no audit")
        found = await audit_log.page(None, request.query.get("cursor") or None)
        return await self.page("audit.html", visit, found=found)
