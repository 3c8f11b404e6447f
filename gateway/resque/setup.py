"""The door of Resque, put together and opened."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.metrics import Metrics
from gateway.queue.producer import Queue
from gateway.resque.store import Place, ResqueStore
from gateway.resque.worker import ResqueWorker
from gateway.settings import Settings
from gateway.store.address import main_address, queue_address
from gateway.store.connection import Link
from protocols.resque.records import host_part, worker_id

_WAIT_S: Final = 2.0
"""A Resque that is away does not keep the other doors closed for longer."""


def place_of(settings: Settings) -> Place:
    """Where Resque is: `resque.redis`, else RhoConnect's own Redis.

    Raises:
        BadSetting: no address.
    """
    own = settings.resque.redis
    return Place(main_address(settings)) if own is None else Place.parse(own.reveal())


@asynccontextmanager
async def open_resque(
    settings: Settings, gateway_id: str, queue: Queue, metrics: Metrics
) -> AsyncIterator[ResqueWorker | None]:
    """Work on Resque's queues until the block ends; None where there are none to work on.

    A Redis of Resque's own that is away does not keep the gateway from its other doors.

    Raises:
        BadSetting: `resque.redis` is no address.
    """
    if not settings.resque.queues:
        yield None
        return
    place = place_of(settings)
    link = Link(place.address, "resque")
    host = host_part(socket.gethostname(), gateway_id)
    name = worker_id(host, os.getpid(), settings.resque.queues)
    worker = ResqueWorker(
        ResqueStore(link, place.names, gateway_id, name),
        queue,
        settings.resque.queues,
        host=host,
        together=place.address == queue_address(settings),
        users_max=settings.limits.users_per_ping,
        metrics=metrics,
    )
    link.start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WAIT_S):
            await link.wait_up()
    worker.start()
    try:
        yield worker
    finally:
        await worker.close()
        await link.close()
