"""The peer of the RhoConnect Push service: a long poll on aiohttp, with one future for each device.

It has no Redis, no authentication and no queue: its cost is the minimum of any aiohttp service of this kind.
"""

import asyncio
from typing import Final

import uvloop
from aiohttp import web

from gateway.bench.roles import result
from gateway.bench.roles.rhoconnect_push import RhoConnectPushOrder, RhoConnectPushResult, order_lines
from gateway.errors import RhoPushError

_BODY: Final = b'{"id":8,"token":"t","data":{"alert":"Order 0000000 is on its way","do_sync":["Product"]}}'
_POLL_S: Final = 0.01
_LOOKS: Final = 6_000


class LongPollPeer:
    """The waiting requests, by instance."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """Wait for a message to this instance."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[request.match_info["instance"]] = future
        return web.Response(body=await future, content_type="application/json")

    async def full(self, count: int) -> None:
        """Wait until `count` requests wait."""
        for _ in range(_LOOKS):
            if len(self._waiting) >= count:
                return
            await asyncio.sleep(_POLL_S)
        raise RhoPushError(f"{len(self._waiting)} of {count} polls wait")

    def wake(self) -> None:
        """Send a message to each waiting request."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_result(_BODY)


async def _serve() -> None:
    polls = LongPollPeer()
    app = web.Application()
    app.router.add_get("/nextMessage/{instance}", polls.answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0, backlog=4096)
    await site.start()
    port = runner.addresses[0][1]
    async for order in order_lines(RhoConnectPushOrder):
        if order.action == "waiting":
            await polls.full(order.count)
        elif order.action == "send":
            polls.wake()
        result(RhoConnectPushResult(port))
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
