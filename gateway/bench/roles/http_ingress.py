"""The HTTP ingress alone: HTTP in, durable append out, without the consumer of the queue.

It runs `gateway.http_api` and the queue's producer as a worker does: authentication, parsing, group commit, metrics.
The consumer of the queue is another process.
"""

import asyncio
import gc
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from gateway.bench.roles import result
from gateway.bench.wire import CALLER_KEY
from gateway.http_api import Dependencies, open_http_api
from gateway.http_api.dependencies import Readiness
from gateway.logs import structured
from gateway.metrics import Metrics
from gateway.queue.completion import CompletionWaiters
from gateway.queue.ping_list import PingList
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.settings import Secret, load
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.connection import RedisConnection

_OPEN_S: Final = 5.0
_REPLY_S: Final = 2.0


class IngressOrder(msgspec.Struct):
    """The only order: the settings file and the Redis."""

    settings: str
    redis: str


async def _always_ready() -> Readiness:
    return Readiness({}, {})


async def _serve() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=IngressOrder)
    settings = load(
        Path(order.settings), "development", {"API_TOKEN": CALLER_KEY, "RHOPUSH_REDIS": order.redis}
    )
    address = RedisAddress.parse(order.redis)
    async with AsyncExitStack() as stack:
        append, reading = (
            RedisConnection(address, "append", reply_s=_REPLY_S),
            RedisConnection(address, "streams"),
        )
        for link in (append, reading):
            await link.open(_OPEN_S)
            stack.push_async_callback(link.close)
        receipts = Receipts(reading)
        completions = CompletionWaiters(address, receipts)
        await completions.open()
        stack.push_async_callback(completions.close)
        redis = client(address)
        stack.push_async_callback(redis.aclose)
        limits = BacklogLimits(settings.limits.queue_pings, settings.limits.queue_bytes)
        services = Dependencies(
            settings=settings,
            api_token=Secret(CALLER_KEY),
            owns_store=False,
            queue=QueueProducer(append, limits),
            receipts=receipts,
            ping_list=PingList(reading),
            completions=completions,
            redis=redis,
            readiness=_always_ready,
            metrics=Metrics(),
        )
        sock = socket.create_server(("127.0.0.1", 0))
        await stack.enter_async_context(await open_http_api(services, sock))
        gc.collect()
        gc.freeze()  # as a worker does when it is ready
        result(sock.getsockname()[1])
        await asyncio.to_thread(sys.stdin.buffer.read)  # until the orchestrator ends


if __name__ == "__main__":
    structured.configure(worker=0)
    uvloop.run(_serve())
