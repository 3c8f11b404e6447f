"""The webhooks of a worker: endpoints, events of settlements, and conditions of lanes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.delivery.lane_manager import LaneManager
from gateway.errors import BadSetting, CredentialError
from gateway.metrics import Metrics
from gateway.queue.outbox import EventPlan
from gateway.settings import Settings
from gateway.store.connection import RedisConnection
from gateway.tracing import PingTracer
from gateway.transport.tls import client_context
from gateway.webhooks.conditions import ConditionMonitor
from gateway.webhooks.dispatcher import WebhookDispatcher
from gateway.webhooks.outbox import Outbox


@asynccontextmanager
async def open_webhooks(
    settings: Settings,
    connection: RedisConnection,
    worker: str,
    lanes: LaneManager,
    metrics: Metrics,
    tracer: PingTracer | None = None,
) -> AsyncIterator[tuple[WebhookDispatcher, EventPlan]]:
    """Deliver events to the endpoints of the settings, and yield the endpoints and the plan for settlements.

    Args:
        settings: the settings of the start; `WebhookDispatcher.apply_settings` changes them.
        connection: the queue's Redis.
        worker: name of this worker among those of all gateways.
        lanes: the lanes whose conditions are reported.
        metrics: for the endpoints.
        tracer: records the calls for the pings that have a trace; None: there are no traces.

    Raises:
        BadSetting: a file of certificate authorities cannot be read.
    """
    check_ca_files(settings)
    plan = EventPlan()
    conditions = ConditionMonitor(settings, plan, lanes.all, Outbox(connection))
    dispatcher = WebhookDispatcher(connection, worker, plan, metrics, conditions, tracer)
    await dispatcher.open(settings)
    try:
        yield dispatcher, plan
    finally:
        await dispatcher.close()


def check_ca_files(settings: Settings) -> None:
    """Check the files of certificate authorities.

    Raises:
        BadSetting: a file cannot be read.
    """
    for name, endpoint in settings.webhooks.items():
        if endpoint.ca_file is None:
            continue
        try:
            client_context(ca_file=endpoint.ca_file)
        except CredentialError as error:
            field = f"webhooks.{name}.ca_file"
            raise BadSetting(f"{field}: {error.message}", field=field) from error
