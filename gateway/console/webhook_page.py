"""The endpoints of webhooks, where the gateway has some."""

from typing import Any, Protocol

from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.pages import Pages
from gateway.errors import NotFound
from gateway.http_api.dependencies import Dependencies


class Webhooks(Protocol):
    """Lists the endpoints of webhooks."""

    async def listing(self) -> list[dict[str, Any]]:
        """Return name, address and state of each endpoint, without secrets. Raises StoreDown."""
        ...


def has_webhooks(services: Dependencies) -> bool:
    """Return whether these services have webhooks."""
    return _webhooks_of(services) is not None


def _webhooks_of(services: Dependencies) -> Webhooks | None:
    found: Webhooks | None = getattr(services, "webhooks", None)
    return found


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
        webhooks = _webhooks_of(self._services)
        if webhooks is None:
            raise NotFound("this gateway has no webhooks")
        return await self._pages.render("webhooks.html", visit=visit, endpoints=await webhooks.listing())
