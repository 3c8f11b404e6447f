"""The console of this worker: its routes, and the recorder of its time series."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.console import ConsoleStores, console_routes
from gateway.console.recorder import History, QueueSize, Recorder
from gateway.http_api.app import FurtherRoutes, no_routes
from gateway.http_api.dependencies import Dependencies
from gateway.queue.device_deliveries import DeviceDeliveries
from gateway.queue.receipt_tries import ReceiptTries
from gateway.store.connection import RedisConnection


@asynccontextmanager
async def open_console(
    services: Dependencies, connection: RedisConnection, name: str
) -> AsyncIterator[FurtherRoutes]:
    """Record the time series in the background, and give the routes for `open_http_api`; none if it is disabled.

    Args:
        services: the services behind the HTTP API.
        connection: to the queue's Redis.
        name: of this worker.
    """
    operators = services.operators
    if operators is None or not services.settings.console.enabled:
        yield no_routes
        return
    metrics = services.metrics
    history = History(connection, name)

    def queue() -> QueueSize:
        return QueueSize(int(metrics.queue_depth.value), metrics.queue_oldest_age_seconds.value)

    recorder = Recorder(history, operators.worker_reports, queue, metrics)
    task = asyncio.create_task(recorder.run(), name="console recorder")
    try:
        tries, deliveries = ReceiptTries(connection), DeviceDeliveries(connection)
        yield console_routes(ConsoleStores(operators.worker_reports, history, tries, deliveries))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
