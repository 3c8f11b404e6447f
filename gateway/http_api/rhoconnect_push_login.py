"""The routes by which rhoconnect-push authenticates apps and the users of devices (contract §2.2)."""

import hmac
from typing import Final
from urllib.parse import unquote, urlsplit

from aiohttp import hdrs, web

from gateway.http_api import responses
from gateway.http_api.context import HandlerContext, client_of
from gateway.settings import Secret
from protocols.http1.response import HttpResponse
from protocols.rhoconnect_push.wire import Basic, basic

PUSH_SERVER: Final = "push_server"
"""Name under which attempts to guess the app's credentials are counted."""
_GOOD: Final = HttpResponse(204, ())
_NO_BASIC: Final = responses.of_text("Invalid Basic Authorization header", status=401)
_NO_SETTING: Final = responses.of_text("Invalid RhoConnect Push settings", status=500)
_OTHER_APP: Final = responses.of_text("Invalid RhoConnect Push server credentials", status=401)
_NO_USER: Final = responses.of_text("", status=401)


class RhoConnectPushLoginRoutes:
    """The two routes for an external RhoConnect Push service.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def app(self, request: web.Request) -> web.Response:
        """Check the credentials of an app that posts messages against `:push_server:`."""
        given = _basic_of(request)
        wanted = app_credentials(self._context.services.settings.push_server)
        if not given.encoded:
            return responses.response(_NO_BASIC)
        if wanted is None:
            return responses.response(_NO_SETTING)
        accounts = self._context.accounts
        good = await accounts.check_secret(PUSH_SERVER, same_app(given, wanted), client_of(request))
        return responses.response(_GOOD if good else _OTHER_APP)

    async def user(self, request: web.Request) -> web.Response:
        """Check a device's session cookie; the name in its Basic credentials may differ from the session's user."""
        await self._context.require_device(request)
        given = _basic_of(request)
        return responses.response(_GOOD if given.encoded else _NO_USER)


def _basic_of(request: web.Request) -> Basic:
    """Return the Basic credentials of a request. RhoConnect accepts the scheme in any letter case (RFC 9110 §11.1)."""
    scheme, blank, rest = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return basic(f"Basic{blank}{rest}" if scheme.lower() == "basic" else None)


def app_credentials(push_server: Secret | None) -> Basic | None:
    """Return user and password of a `:push_server:` URL, or None."""
    if push_server is None:
        return None
    user, at, _ = urlsplit(push_server.reveal()).netloc.rpartition("@")
    name, _, password = user.partition(":")
    return Basic(unquote(name), unquote(password), True, user) if at else None


def same_app(given: Basic, wanted: Basic) -> bool:
    """Compare name and password in constant time, both in every case."""
    names = hmac.compare_digest(given.name.encode(), wanted.name.encode())
    return hmac.compare_digest(given.password.encode(), wanted.password.encode()) and names
