"""The endpoints of webhooks, where the gateway has some."""

from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.pages import Pages
from gateway.errors import NotFound
from gateway.http_api.dependencies import Dependencies


def has_webhooks(services: Dependencies) -> bool:
    """Return whether these services have webhooks."""
    return services.webhooks is not None


class WebhookPage:
    """The route of the page.

    Args:
        services: the services behind the HTTP API.
        pages: renders it.
    """

    def __init__(self, services: Dependencies, pages: Pages) -> None:
        self._services = services
        self._pages = pages

    async def show(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the table of endpoints."""
        webhooks = self._services.webhooks
        if webhooks is None:
            raise NotFound("this gateway has no webhooks")
        return await self._pages.render("webhooks.html", visit=visit, endpoints=await webhooks.listing())
