"""Authentication, permissions and CSRF checks around the console's handlers.

| request | without a session | without the scope | other conditions |
| --- | --- | --- | --- |
| a page (GET) | redirected to the login | 403 | |
| an action (POST) | redirected to the login | 403 | the session's CSRF token in the body; its origin is no other site |
| a fragment or stream that a script reads | 401 | 403 | |
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from aiohttp import hdrs, web

from gateway.console.identities import Identities
from gateway.console.pages import PAGE_HEADERS, Pages
from gateway.console.sessions import COOKIE, ConsoleSession, ConsoleSessions
from gateway.errors import AppNotAllowed, NotAllowed, NotAuthenticated, RhoPushError
from gateway.http_api.admin.admin_route import SUBJECT
from gateway.http_api.aiohttp_handler import trust
from gateway.http_api.bodies import BODY_ADMISSION
from gateway.http_api.context import HandlerContext, client_of
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.http_route import Handler
from gateway.http_api.requests import cookie, read_request_body
from gateway.registry.scopes import Principal, Scope, require_any_scope
from protocols.errors import BodyTooLarge

LOGIN_PATH: Final = "/console/login"
CSRF_FIELD: Final = "csrf"
_OWN_SITES: Final = ("same-origin", "none")
"""Values of Sec-Fetch-Site of requests that no other site caused (Fetch Metadata Request Headers, section 2.4)."""


class Visit(NamedTuple):
    """An authenticated request.

    Attributes:
        principal: the caller.
        session: the session.
        session_id: id of the session.
    """

    principal: Principal
    session: ConsoleSession
    session_id: str

    @property
    def csrf(self) -> str:
        """The CSRF token of the session's forms."""
        return self.session.csrf

    @property
    def about(self) -> dict[str, str]:
        """The session as the scripts of a page that was opened earlier get it: a later login has another CSRF token."""
        return {"caller": self.principal.name, "csrf": self.csrf}

    def can(self, *scopes: str) -> bool:
        """Return whether the caller has one of these scopes; `admin` includes all others."""
        own = self.principal.scopes
        return Scope.ADMIN in own or any(scope in own for scope in scopes)

    @property
    def limited(self) -> bool:
        """Whether the caller is limited to apps: pages that show all apps are not for it."""
        return self.principal.apps is not None


Form = Mapping[str, Any]
PageHandler = Callable[[web.Request, Visit], Awaitable[web.StreamResponse]]
ActionHandler = Callable[[web.Request, Visit, Form], Awaitable[web.StreamResponse]]


class Guard:
    """Wraps handlers.

    Args:
        context: the state shared by the routes.
        pages: renders errors.
        sessions: the sessions.
        identities: checks the caller of a session.
    """

    def __init__(
        self, context: HandlerContext, pages: Pages, sessions: ConsoleSessions, identities: Identities
    ) -> None:
        self._context = context
        self._services = context.services
        self._pages = pages
        self._sessions = sessions
        self._identities = identities

    def page(self, scopes: tuple[Scope, ...], handler: PageHandler, *, honours_apps: bool = False) -> Handler:
        """Wrap the handler of a page.

        Args:
            scopes: one of them is required; none if it is empty.
            handler: the handler.
            honours_apps: whether it keeps the caller's limit to apps. Others refuse callers with such a limit.
        """

        async def answer(request: web.Request) -> web.StreamResponse:
            visit = None
            try:
                visit = await self.visit(request)
                if visit is None:
                    return to_login(request)
                _require(visit, scopes, honours_apps=honours_apps)
                return with_page_headers(await handler(request, visit))
            except RhoPushError as error:
                is_action = request.method == hdrs.METH_POST
                if visit is not None and is_action:
                    await self._audit_refusal(request, visit, error)
                return await self._pages.error(error, repeatable=not is_action, visit=visit)

        return answer

    def action(
        self, scopes: tuple[Scope, ...], handler: ActionHandler, *, honours_apps: bool = False
    ) -> Handler:
        """Wrap the handler of a form. The arguments are those of `page`.

        The handler records its success in the audit, and an error that it does not raise. An error that it raises, and
        a missing permission, are recorded here, with the handler's `SUBJECT`.
        """

        async def perform(request: web.Request, visit: Visit) -> web.StreamResponse:
            form = await read_form(request, self._services)
            require_csrf(request, form, visit.csrf)
            return await handler(request, visit, form)

        return self.page(scopes, perform, honours_apps=honours_apps)

    async def refuse(self, request: web.Request, error: RhoPushError) -> web.Response:
        """Return the page of a form that is refused before its handler runs."""
        shown = _form_too_long(request) if isinstance(error, BodyTooLarge) else error
        return await self._pages.error(shown, repeatable=False, visit=None)

    async def _audit_refusal(self, request: web.Request, visit: Visit, error: RhoPushError) -> None:
        action = f"{request.method} {request.path} {request.get(SUBJECT, '')}".rstrip()
        await self._context.audit(request, visit.principal, action, error.code)

    def fragment(
        self, scopes: tuple[Scope, ...], handler: PageHandler, *, honours_apps: bool = False
    ) -> Handler:
        """Wrap a handler whose answer a script reads. The arguments are those of `page`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                visit = await self.visit(request)
                if visit is None:
                    raise NotAuthenticated("the session has ended")
                _require(visit, scopes, honours_apps=honours_apps)
                return with_page_headers(await handler(request, visit))
            except RhoPushError as error:
                return web.Response(text=error.message, status=error.status, headers=PAGE_HEADERS)

        return answer

    async def visit(self, request: web.Request) -> Visit | None:
        """Return the caller of a request; None: there is no valid session.

        Raises:
            AuthenticationBusy: too many look-ups wait.
            StoreDown: Redis does not answer.
        """
        session_id = cookie(request, COOKIE)
        session = await self._sessions.read(session_id, client_of(request))
        if session is None:
            return None
        principal = await self._identities.of_session(session, client_of(request))
        if principal is None:
            return None
        trust(request)
        return Visit(principal, session, session_id)


def _require(visit: Visit, scopes: tuple[Scope, ...], *, honours_apps: bool) -> None:
    if scopes:
        require_any_scope(visit.principal, *scopes)
    if visit.limited and not honours_apps:
        raise AppNotAllowed(f"{visit.principal.name} is limited to apps, which this page does not support")


async def read_form(request: web.Request, services: Dependencies) -> Form:
    """Return the fields of a form.

    Raises:
        MalformedBody, BodyTooLarge: the body is not a form, or too long.
    """
    try:
        return (await read_request_body(request, services)).values
    except BodyTooLarge:
        raise _form_too_long(request) from None


def _form_too_long(request: web.Request) -> BodyTooLarge:
    """Return the error for a form: a browser cannot follow the advice of the HTTP API's own error."""
    longest = request.app[BODY_ADMISSION].small
    return BodyTooLarge(f"a form must not exceed {longest} bytes: the HTTP API takes longer lists of users")


def text_field(form: Form, name: str) -> str:
    """Return a text of a form; "" if it is missing or has another type."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def require_csrf(request: web.Request, form: Form, token: str) -> None:
    """Require the CSRF token in a form, and an origin of this site.

    Raises:
        NotAllowed: the form does not have the token, or another site sent the request.
    """
    sent = text_field(form, CSRF_FIELD)
    same = hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), token.encode())
    if not token or not same or request.headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        raise NotAllowed("the form is not from this session: load the page again")


def to_login(request: web.Request) -> web.Response:
    """Redirect to the login, which leads back to the requested page, with its query."""
    back = request.rel_url.raw_path_qs if request.method == hdrs.METH_GET else "/console"
    return redirect(f"{LOGIN_PATH}?next={quote(back)}")


def with_page_headers(answer: web.StreamResponse) -> web.StreamResponse:
    """Return a response with `PAGE_HEADERS`, and with its own policy if it has one. A stream has begun already."""
    if not answer.prepared:
        for name, value in PAGE_HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers[hdrs.CACHE_CONTROL] = PAGE_HEADERS[hdrs.CACHE_CONTROL]
    return answer


def redirect(path: str) -> web.Response:
    """Return a redirect after which a browser sends a GET (RFC 9110, 303)."""
    return web.Response(status=303, headers={**PAGE_HEADERS, "Location": path})
