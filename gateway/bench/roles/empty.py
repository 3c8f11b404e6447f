"""The peer of the HTTP ingress: aiohttp on uvloop with an empty handler."""

import asyncio
import sys

import uvloop
from aiohttp import web

from gateway.bench.roles import result
from gateway.bench.wire import PATH


async def _nothing(_: web.Request) -> web.Response:
    return web.Response()


async def _serve() -> None:
    app = web.Application()
    app.router.add_post(PATH, _nothing)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    result(runner.addresses[0][1])
    # Blocks in a thread until the end of the orchestrator's pipe
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
