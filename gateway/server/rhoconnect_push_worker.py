"""One worker of the legacy push service alone: no pings, no fan-out, only devices and the apps that post."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from gateway import __version__
from gateway.errors import BadSetting
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.metrics import Metrics
from gateway.server.ipc import News
from gateway.server.rhoconnect_push import legacy_service, rps_store
from gateway.server.worker_channels import Supervision
from gateway.settings import Settings
from gateway.store.client_factory import check_trust
from gateway.store.command_probe import require, rps_use

_log = structlog.get_logger("worker")


async def run(
    settings: Settings,
    *,
    slot: int,
    gateway_id: str,
    sock: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
    workers: int = 1,
    supervision: Supervision | None = None,
) -> None:
    """Work until `stop` is set, then answer all polls within `settings.drain_s`.

    Args:
        settings: those in force.
        slot: this worker's number.
        gateway_id: the same after a restart.
        sock: the bound listening socket of the service.
        stop: set to drain.
        ready: called when it serves.
        workers: how many processes serve; nothing here is shared out among them.
        supervision: where metrics go, and settings come from that were read anew; of those, `limits` can change.

    Raises:
        StoreDown: Redis cannot be reached at the start.
        BadSetting: this is not the service (`rps.mode`), or a certificate cannot be used.
    """
    check_trust(settings)
    async with AsyncExitStack() as opened:
        for refused in await require([rps_use(settings)]):
            _log.warning("redis_refuses_commands", text=refused)
        store = await opened.enter_async_context(rps_store(settings))
        if store is None:
            raise BadSetting("rps.mode: the legacy push service is not built in", field="rps.mode")
        metrics = Metrics(__version__)
        bodies = BodyBudget(settings.limits.bodies_bytes)
        connections = ConnectionLimits(settings.limits.connections)

        def hear(said: News) -> None:
            if said.settings is not None:
                bodies.limit = said.settings.limits.bodies_bytes
                connections.setting = said.settings.limits.connections

        if supervision is not None:
            supervision.reporting.begin(metrics)
            supervision.news.listen(hear)
        service = await opened.enter_async_context(
            legacy_service(settings, store, sock, metrics, bodies, connections, slot=slot)
        )
        ready()
        _log.info("ready", slot=slot, gateway=gateway_id)
        await stop.wait()
        await service.close(settings.drain_s)
