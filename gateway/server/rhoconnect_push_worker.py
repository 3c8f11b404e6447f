"""A worker that runs the RhoConnect Push service alone: it serves devices and app servers, without pings or fan-out."""

from contextlib import AsyncExitStack

import structlog

from gateway import __version__
from gateway.errors import BadSetting
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.metrics import Metrics
from gateway.server.ipc import SettingsUpdate
from gateway.server.rhoconnect_push import open_mailbox, open_rhoconnect_push
from gateway.server.runtime_metrics import runtime_metrics
from gateway.server.worker_channels import WorkerContext
from gateway.store.client_factory import check_trust
from gateway.store.command_probe import require_commands, rhoconnect_push_use

_log = structlog.get_logger("worker")


async def run(context: WorkerContext) -> None:
    """Serve until `context.stop` is set, then answer all polls within `settings.drain_s`.

    `context.sock` is the service's socket. Of the reloaded settings, `limits` takes effect.

    Raises:
        StoreDown: Redis cannot be reached at the start.
        BadSetting: `rhoconnect_push.mode` does not select the service, or a certificate cannot be used.
    """
    settings, slot, channels = context.settings, context.slot, context.channels
    check_trust(settings)
    async with AsyncExitStack() as opened:
        for refused in await require_commands([rhoconnect_push_use(settings)]):
            _log.warning("redis_commands_refused", text=refused)
        store = await opened.enter_async_context(open_mailbox(settings))
        if store is None:
            raise BadSetting(
                "rhoconnect_push.mode: the RhoConnect Push service is not built in",
                field="rhoconnect_push.mode",
            )
        metrics = Metrics(__version__)
        opened.enter_context(runtime_metrics(metrics))
        bodies = BodyBudget(settings.limits.bodies_bytes)
        connections = ConnectionLimits(settings.limits.connections)

        def apply(update: SettingsUpdate) -> None:
            if update.settings is not None:
                bodies.limit = update.settings.limits.bodies_bytes
                connections.setting = update.settings.limits.connections

        if channels is not None:
            channels.metrics_reporter.begin(metrics)
            channels.settings_feed.subscribe(apply)
        service = await opened.enter_async_context(
            open_rhoconnect_push(settings, store, context.sock, metrics, bodies, connections, slot=slot)
        )
        context.ready()
        _log.info("worker_ready", slot=slot, gateway=context.gateway_id)
        await context.stop.wait()
        await service.close(settings.drain_s)
