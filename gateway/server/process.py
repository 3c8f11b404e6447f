"""The process of one worker: its configuration, its heartbeat, and its end with the supervisor.

`gateway.server.worker_start` calls `run_worker`. The work itself is `run` of the module that the configuration names
(`gateway.server.worker`).
"""

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog
import uvloop

from gateway.errors import BadSetting, CredentialError, RhoPushError, StoreRefused
from gateway.logs import plain, structured, writer
from gateway.server import gc_policy
from gateway.server.allocator import return_large_blocks
from gateway.server.ipc import EXIT_SETTINGS, HEARTBEAT, HEARTBEAT_S, READY, WorkerConfig, unpack
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.settings_feed import SettingsFeed, read_lines
from gateway.server.worker_channels import WorkerChannels, WorkerContext
from gateway.settings import Settings
from gateway.system.unused_packages import unused_packages_hidden

Run = Callable[[WorkerContext], Awaitable[None]]

_log = structlog.get_logger("worker")
_STDIN: Final = 0
_EXIT_SUPERVISOR_GONE: Final = 70
_LOG_FLUSH_S: Final = 0.2


def run_worker() -> int:
    """Run the worker that standard input configures; returns the exit status."""
    with open(_STDIN, "rb", buffering=0, closefd=False) as channel:
        lines = channel.readline(), channel.readline()
    if not lines[1].endswith(b"\n"):
        return _EXIT_SUPERVISOR_GONE  # the supervisor ended while it wrote
    config, settings = unpack(*lines)
    writer.detach(plain.dropped_notice(worker=config.slot))
    structured.configure(settings.log_level, worker=config.slot)
    settings_feed = SettingsFeed()
    threading.Thread(target=_end_with_supervisor, args=(settings_feed,), daemon=True).start()
    with gc_policy.paused_collections(), unused_packages_hidden():
        run: Run = importlib.import_module(config.module).run
    gc_policy.exempt_modules()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(run, config, settings, settings_feed))
    except asyncio.CancelledError:
        return 0  # stopped before the ingresses were open
    except (BadSetting, CredentialError, StoreRefused) as error:
        sys.stderr.write(f"rhopush {config.command}: {error.message}\n")
        return EXIT_SETTINGS
    except RhoPushError as error:
        _log.error("worker_failed", error=error.message)
        return 1
    return 0


def _end_with_supervisor(settings_feed: SettingsFeed) -> None:
    """Publish settings updates until the pipe ends. Runs in a thread, so that a blocked loop cannot outlive the
    supervisor.

    Reads the descriptor itself: a thread that waits inside `sys.stdin` would hold its lock at the exit of the process.
    """
    for line in read_lines(_STDIN):
        settings_feed.publish(line)
    _exit_immediately()


async def _work(run: Run, config: WorkerConfig, settings: Settings, settings_feed: SettingsFeed) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)  # no work was accepted yet: nothing to drain
    os.set_blocking(config.status_fd, False)
    return_large_blocks()

    def beat() -> None:
        _send_status(config.status_fd, HEARTBEAT)
        loop.call_later(HEARTBEAT_S, beat)

    def ready() -> None:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        gc_policy.limit_collections()
        _send_status(config.status_fd, READY)

    beat()
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket(fileno=config.socket_fd))
        rhoconnect_push_listener = None
        if config.rhoconnect_push_fd is not None:
            rhoconnect_push_listener = sockets.enter_context(socket.socket(fileno=config.rhoconnect_push_fd))
        metrics_reporter = MetricsReporter(socket.socket(fileno=config.metrics_fd))
        sockets.callback(metrics_reporter.close)
        await run(
            WorkerContext(
                settings,
                config.slot,
                config.gateway_id,
                listener,
                stop,
                ready,
                rhoconnect_push_listener,
                config.workers,
                WorkerChannels(settings_feed, metrics_reporter),
            )
        )


def _send_status(status_fd: int, word: bytes) -> None:
    try:
        os.write(status_fd, word)
    except BlockingIOError:
        return  # the supervisor is slow; the pipe holds enough heartbeats
    except BrokenPipeError:
        _exit_immediately()


def _exit_immediately() -> NoReturn:
    """Exit because the supervisor has ended, after a short time to write the log, which may contain the reason."""
    writer.flush(_LOG_FLUSH_S)
    os._exit(_EXIT_SUPERVISOR_GONE)
