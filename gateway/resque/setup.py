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
from gateway.resque.store import ResqueLocation, ResqueStore
from gateway.resque.worker import ResqueWorker
from gateway.settings import Settings
from gateway.store.address import main_address, queue_address
from gateway.store.connection import RedisConnection
from protocols.resque.records import host_part, worker_id

_WAIT_S: Final = 2.0
"""Longest wait for Resque's Redis at startup: the other ingresses start after it."""


def location_of(settings: Settings) -> ResqueLocation:
    """The Redis and namespace of Resque: `resque.redis`, or else RhoConnect's own Redis.

    Raises:
        BadSetting: the setting is not an address.
    """
    own = settings.resque.redis
    return ResqueLocation(main_address(settings)) if own is None else ResqueLocation.parse(own.reveal())


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
    location = location_of(settings)
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
