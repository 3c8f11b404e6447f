"""The common part of the console's pages.

A page consists of a method of a `PageSet`, a template that extends `base.html` and shows lists with the macro `table`
of `table.html`, a row in the table of routes (`gateway.console`), and a link (`gateway.console.navigation`).
"""

from typing import Any

from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.pages import Pages
from gateway.errors import RhoPushError
from gateway.http_api.context import HandlerContext
from gateway.registry.audit_log import DONE


class PageSet:
    """The routes of one subject.

    Args:
        context: the state shared by the routes.
        pages: renders them.
    """

    def __init__(self, context: HandlerContext, pages: Pages) -> None:
        self._context = context
        self._services = context.services
        self._pages = pages

    async def page(
        self,
        template: str,
        visit: Visit,
        *,
        notice: str = "",
        error: RhoPushError | None = None,
        **values: Any,
    ) -> web.Response:
        """Return a page.

        Args:
            template: its file.
            visit: the caller.
            notice: the result of the caller's action, shown above the content.
            error: the reason why the action failed, shown there; the page has its status.
            values: for the template.
        """
        status = 200 if error is None else error.status
        return await self._pages.render(template, status, visit=visit, notice=notice, error=error, **values)

    async def audit(self, request: web.Request, visit: Visit, action: str, outcome: str = DONE) -> None:
        """Record an action of the caller: `action` is the path of its route behind `/console`, and its object."""
        await self._context.audit(request, visit.principal, f"POST /console{action}"[:200], outcome)
