"""Construction and start of the ingress `resque`."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.delivery.ping_additions import addition_rules
from gateway.metrics import Metrics
from gateway.queue.producer import QueueProducer
from gateway.resque.store import ResqueStore
from gateway.resque.worker import ResqueWorker
from gateway.settings import Settings
from gateway.store.address import queue_address, resque_location
from gateway.store.connection import RedisConnection
from protocols.resque.records import host_part, worker_id

_WAIT_S: Final = 2.0
"""Longest wait for Resque's Redis at startup: the other ingresses start after it."""


@asynccontextmanager
async def open_resque(
    settings: Settings, gateway_id: str, queue: QueueProducer, metrics: Metrics
) -> AsyncIterator[ResqueWorker | None]:
    """Process Resque's queues until the block ends; None if the settings name no queues.

    An unreachable Redis of Resque does not prevent the other ingresses from starting.

    Raises:
        BadSetting: `resque.redis` is not an address.
    """
    if not settings.resque.queues:
        yield None
        return
    location = resque_location(settings)
    connection = RedisConnection(location.address, "resque")
    host = host_part(socket.gethostname(), gateway_id)
    name = worker_id(host, os.getpid(), settings.resque.queues)
    worker = ResqueWorker(
        ResqueStore(connection, location.names, gateway_id, name),
        queue,
        settings.resque.queues,
        host=host,
        together=location.address == queue_address(settings),
        users_max=settings.limits.users_per_ping,
        metrics=metrics,
        addition_rules=addition_rules(),
    )
    connection.start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_S):
            await connection.wait_up()
    worker.start()
    try:
        yield worker
    finally:
        await worker.close()
        await connection.close()
