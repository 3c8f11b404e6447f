"""One row of the table of routes."""

from aiohttp import web

from gateway.http_api.http_route import HttpRoute


async def answer(_: web.Request) -> web.Response:
    return web.Response()


def test_an_older_name_has_the_warning_of_rhoconnect() -> None:
    assert HttpRoute("POST", "/api/ping", "token", "Ping", answer, deprecated=True).warning == (
        "Use of the POST /api/ping is deprecated. Use Rhoconnect API v1 instead."
    )
