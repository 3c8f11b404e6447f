"""The arguments of a worker's `run`, and its connections to its supervisor."""

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple

from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.settings_feed import SettingsFeed
from gateway.settings import Settings


class WorkerChannels(NamedTuple):
    """A worker's connections to its supervisor.

    Attributes:
        settings_feed: provides reloaded settings.
        metrics_reporter: reports the worker's metrics, and returns those of the whole gateway.
    """

    settings_feed: SettingsFeed
    metrics_reporter: MetricsReporter


class WorkerContext(NamedTuple):
    """The argument of `run` in each worker module.

    Attributes:
        settings: the current settings.
        slot: number of this worker.
        gateway_id: id of the gateway, stable across restarts.
        sock: the bound listening socket.
        stop: set to drain.
        ready: called when the worker serves.
        rhoconnect_push_sock: the bound listening socket of the RhoConnect Push service; None: it has no separate
            socket.
        workers: number of processes that share the limits of the gateway.
        channels: connections to the supervisor; None: this process runs without one.
    """

    settings: Settings
    slot: int
    gateway_id: str
    sock: socket.socket
    stop: asyncio.Event
    ready: Callable[[], None]
    rhoconnect_push_sock: socket.socket | None = None
    workers: int = 1
    channels: WorkerChannels | None = None
