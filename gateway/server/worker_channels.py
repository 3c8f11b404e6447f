"""What a worker gets from the process that it runs in, and its connections to its supervisor."""

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
        settings_feed: gives settings that were read anew.
        metrics_reporter: takes the worker's metrics, and gives those of the whole gateway.
    """

    settings_feed: SettingsFeed
    metrics_reporter: MetricsReporter


class WorkerContext(NamedTuple):
    """What every kind of worker is started with: the argument of `run` in each worker module.

    Attributes:
        settings: those in force.
        slot: this worker's number.
        gateway_id: the same after a restart.
        sock: the bound listening socket.
        stop: set to drain.
        ready: called when the worker serves.
        rhoconnect_push_sock: the bound listening socket of the RhoConnect Push service; None: it has none of its own.
        workers: how many processes share what is limited for the gateway.
        channels: where changed settings come from, and where metrics go; None: this process is alone.
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
