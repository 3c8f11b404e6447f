"""The console's pages as responses, with the headers of each page.

Jinja and the templates (`gateway.console.rendering`) are loaded for the first page: most workers serve none.
"""

import asyncio
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from gateway import __version__
from gateway.console.assets import Assets
from gateway.errors import RhoPushError
from gateway.http_api import responses

if TYPE_CHECKING:
    from gateway.console.rendering import Renderer

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""Neither inline scripts nor inline styles, and no request to another host (Content Security Policy Level 3)."""
PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Pages:
    """Renders templates.

    Args:
        assets: the files to which pages refer.
        navigation: returns the links that a caller sees (`gateway.console.navigation`).
    """

    def __init__(self, assets: Assets, navigation: Callable[[Any], Sequence[object]] = lambda _: ()) -> None:
        self._globals: Final[Mapping[str, Any]] = {
            "asset": assets.address,
            "version": __version__,
            "navigation": navigation,
            "notice": "",
            "error": None,
        }
        self._opening: asyncio.Task[Renderer] | None = None

    async def render(self, name: str, status: int = 200, **values: Any) -> web.Response:
        """Return a page.

        Args:
            name: the template.
            status: of the response.
            values: for the template; `error`, the reason of the status, also decides about `Retry-After`.
        """
        renderer = await self._opened()
        text = renderer.render(name, values)
        page = web.Response(
            text=text, status=status, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS
        )
        error = values.get("error")
        return page if error is None else _with_retry_after(page, error)

    async def error(self, error: RhoPushError, *, repeatable: bool, **values: Any) -> web.Response:
        """Return the page of an error, with the status that the HTTP API gives it.

        Args:
            error: the error.
            repeatable: whether the browser may send the request again: the page of a gateway that cannot work at
                present does so by itself.
            values: for the template.
        """
        status = error.status
        message = "internal server error" if status == 500 else responses.error_object(error)["message"]
        again = repeatable and status == 503
        page = await self.render("error.html", status, text=message, code=status, again=again, **values)
        return _with_retry_after(page, error)

    async def _opened(self) -> "Renderer":
        """Wait until all templates are compiled, which takes a tenth of a second of a thread, once."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        return await asyncio.shield(self._opening)

    def _open(self) -> "Renderer":
        rendering = importlib.import_module("gateway.console.rendering")
        renderer: Renderer = rendering.Renderer(self._globals)
        return renderer


def _with_retry_after(page: web.Response, error: RhoPushError) -> web.Response:
    """Return a page with the header that the HTTP API gives to the error."""
    after_s = responses.retry_after_s(error)
    if after_s is not None:
        page.headers[hdrs.RETRY_AFTER] = str(after_s)
    return page
