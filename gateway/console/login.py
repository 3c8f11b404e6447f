"""Login and logout of the console."""

import re
import secrets
from typing import Final

from aiohttp import web

from gateway.console.guard import (
    LOGIN_PATH,
    Form,
    Visit,
    read_form,
    redirect,
    require_csrf,
    text_field,
)
from gateway.console.identities import Identities
from gateway.console.pages import Pages
from gateway.console.sessions import COOKIE, LOGIN_COOKIE, ConsoleSessions
from gateway.errors import LoginRefused, NotAllowed, RhoPushError
from gateway.http_api.client_address import used_tls
from gateway.http_api.context import HandlerContext, client_of
from gateway.http_api.requests import cookie
from gateway.registry.audit_log import DONE
from gateway.store import keys

HOME: Final = "/console"
_COOKIE_PATH: Final = "/console"
_LOGIN_COOKIE_S: Final = 3_600
_NEXT: Final = re.compile(
    r"/console(?:/(?!(?:\.|%2[eE]){1,2}(?:[/?]|$))[0-9A-Za-z._~%!$&'()*+,;=:@-]+)*/?(?:\?[!-\[\]-~]*)?"
)
"""Addresses to which a login may lead: pages of the console, and no other site. A browser removes segments of one dot
or two (URL Standard, "path state")."""
_NEXT_CHARACTERS: Final = 2_048
_CSRF: Final = re.compile(r"[0-9A-Za-z_-]{43}")
"""The form of `secrets.token_urlsafe(32)`."""
_REFUSED: Final = "The gateway does not accept these credentials."


class LoginPages:
    """The routes of login and logout.

    Args:
        context: the state shared by the routes.
        pages: renders the form.
        sessions: receives the sessions.
        identities: checks credentials.
    """

    def __init__(
        self, context: HandlerContext, pages: Pages, sessions: ConsoleSessions, identities: Identities
    ) -> None:
        self._context = context
        self._services = context.services
        self._pages = pages
        self._sessions = sessions
        self._identities = identities

    async def form(self, request: web.Request) -> web.Response:
        """Return the form of the login."""
        return await self._form(request, request.query.get("next", ""))

    async def log_in(self, request: web.Request) -> web.StreamResponse:
        """Check credentials, and begin a session with a new id."""
        back = ""
        try:
            form = await read_form(request, self._services)
            back = text_field(form, "next")
            require_csrf(request, form, cookie(request, LOGIN_COOKIE))
            session_id = await self._audited(request, form)
            if session_id is None:
                return await self._form(request, back, error=LoginRefused(_REFUSED))
            former = cookie(request, COOKIE)
            if former:
                await self._sessions.end(former)
        except NotAllowed:
            return await self._form(request, back, error=NotAllowed("The form has expired: send it again."))
        except RhoPushError as error:
            return await self._form(request, back, error=error)
        answer = redirect(_page_of(back))
        answer.set_cookie(
            COOKIE,
            session_id,
            path=_COOKIE_PATH,
            max_age=keys.CONSOLE_SESSION_S,
            secure=used_tls(request),
            httponly=True,
            samesite="Strict",
        )
        answer.del_cookie(LOGIN_COOKIE, path=LOGIN_PATH)
        return answer

    async def log_out(self, _: web.Request, visit: Visit, __: Form) -> web.StreamResponse:
        """End the session."""
        await self._sessions.end(visit.session_id)
        answer = redirect(LOGIN_PATH)
        answer.del_cookie(COOKIE, path=_COOKIE_PATH)
        return answer

    async def _audited(self, request: web.Request, form: Form) -> str | None:
        """Begin a session as `_begin`, and record the login."""
        name, outcome = text_field(form, "login").strip() or "token", RhoPushError.code
        try:
            session_id = await self._begin(form, client_of(request))
            outcome = DONE if session_id else LoginRefused.code
        except RhoPushError as error:
            outcome = error.code
            raise
        finally:
            await self._context.audit_login(request, name, outcome)
        return session_id

    async def _begin(self, form: Form, client: str) -> str | None:
        """Begin a session of valid credentials, and return its id."""
        token, login = text_field(form, "token").strip(), text_field(form, "login").strip()
        if login:
            user = await self._identities.log_in_by_password(login, text_field(form, "password"), client)
            if user is None:
                return None
            return await self._sessions.begin("account", user.login, user.fingerprint)
        principal = await self._identities.log_in_by_token(token, client)
        if principal is None:
            return None
        if principal.fingerprint:
            return await self._sessions.begin("token", principal.name, principal.fingerprint)
        return await self._sessions.begin("api_token", "", token)

    async def _form(
        self, request: web.Request, back: str, *, error: RhoPushError | None = None
    ) -> web.Response:
        # The forms of all tabs have the same token: a new one would make those of the other tabs expire.
        known = cookie(request, LOGIN_COOKIE)
        csrf = known if _CSRF.fullmatch(known) else secrets.token_urlsafe(32)
        page = await self._pages.render(
            "login.html",
            200 if error is None else error.status,
            visit=None,
            csrf=csrf,
            next=_page_of(back),
            error=error,
        )
        page.set_cookie(
            LOGIN_COOKIE,
            csrf,
            path=LOGIN_PATH,
            max_age=_LOGIN_COOKIE_S,
            secure=used_tls(request),
            httponly=True,
            samesite="Strict",
        )
        return page


def _page_of(back: str) -> str:
    """Return the address to which a login leads."""
    return back if len(back) <= _NEXT_CHARACTERS and _NEXT.fullmatch(back) else HOME
