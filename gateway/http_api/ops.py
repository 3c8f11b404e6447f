"""Routes for operators: liveness, readiness, metrics and the description of the API."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from aiohttp import web
from msgspec import Meta

from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import json_response
from gateway.metrics import CONTENT_TYPE


class Liveness(TypedDict):
    """The process runs."""

    alive: bool


class ReadinessReport(TypedDict):
    """Whether the gateway can accept and deliver pings."""

    ready: bool
    missing: Annotated[dict[str, str], Meta(description="The reason for each component that is not ready.")]
    degraded: Annotated[
        dict[str, str],
        Meta(description="Parts that only some pings need: a lane, or a Redis of one way of pings."),
    ]


class OpsRoutes:
    """Liveness, readiness, metrics, and the description of the API.

    Args:
        context: the state shared by the routes.
        description: returns the OpenAPI document.
    """

    def __init__(self, context: HandlerContext, description: Callable[[], dict[str, Any]]) -> None:
        self._context = context
        self._description = description

    async def healthz(self, _: web.Request) -> web.Response:
        """Return 200 while the event loop runs."""
        return json_response(Liveness(alive=True))

    async def readyz(self, _: web.Request) -> web.Response:
        """Return 200 while pings can be accepted and delivered, else 503 with the reasons."""
        missing, degraded = await self._context.services.readiness()
        report = ReadinessReport(ready=not missing, missing=dict(missing), degraded=dict(degraded))
        return json_response(report, status=503 if missing else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """Return the metrics for Prometheus. The supervisor renders them; this worker forwards the text."""
        services = self._context.services
        if services.scrape is None:  # without a supervisor: rendering would block the loop for milliseconds
            text = await asyncio.to_thread(services.metrics.exposition)
        else:
            text = await services.scrape()
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def openapi(self, _: web.Request) -> web.Response:
        """Return the description of the API (OpenAPI 3.1)."""
        return json_response(self._description())
