"""Routes for operators: is it alive, is it ready, what does it count, what is its interface."""

import asyncio
from typing import Any

from aiohttp import web

from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import json_response
from gateway.metrics import CONTENT_TYPE


class OpsRoutes:
    """Liveness, readiness, metrics, and the description of the interface.

    Args:
        context: what the routes share.
        description: the OpenAPI document.
    """

    def __init__(self, context: HandlerContext, description: dict[str, Any]) -> None:
        self._context = context
        self._description = description

    async def healthz(self, _: web.Request) -> web.Response:
        """200 while the loop turns."""
        return json_response({"alive": True})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when pings can be taken and sent; 503 with what is missing."""
        missing = dict(await self._context.services.readiness())
        return json_response({"ready": not missing, "missing": missing}, status=503 if missing else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """What Prometheus scrapes. The supervisor renders it; this worker only hands it on."""
        services = self._context.services
        if services.scrape is None:  # no supervisor: rendering takes milliseconds, which the loop has not
            text = await asyncio.to_thread(services.metrics.exposition)
        else:
            text = await services.scrape()
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _: web.Request) -> web.Response:
        """The interface described (OpenAPI 3.1)."""
        return json_response(self._description)
