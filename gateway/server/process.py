"""The process of one worker: what it is told, its heart-beat, and its end with the supervisor's.

Started by the supervisor as `python -m gateway.server.process`. What the worker does is `run` of the module
that the order names (`gateway.server.worker`).
"""

import asyncio
import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import structlog
import uvloop

from gateway.errors import BadSetting, CredentialError, RhoPushError, StoreRefused
from gateway.logs import plain, structured, writer
from gateway.server import gc_policy
from gateway.server.allocator import return_large_blocks
from gateway.server.ipc import BEAT, BEAT_S, EXIT_SETTINGS, READY, Order, unpack
from gateway.server.metrics_reporting import Reporting
from gateway.server.settings_feed import NewsFeed, read_lines
from gateway.server.worker_channels import Supervision
from gateway.settings import Settings

Run = Callable[..., Awaitable[None]]

_log = structlog.get_logger("worker")
_STDIN: Final = 0
_PR_SET_PDEATHSIG: Final = 1
_EXIT_ORPHANED: Final = 70
_LAST_WORDS_S: Final = 0.2


def main() -> int:
    """Do as the order on standard input says; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to answer
    _die_with_parent()
    with open(_STDIN, "rb", buffering=0, closefd=False) as orders:
        lines = orders.readline(), orders.readline()
    if not lines[1].endswith(b"\n"):
        return _EXIT_ORPHANED  # the supervisor ended while it was speaking
    order, settings = unpack(*lines)
    writer.detach(plain.dropped_notice(worker=order.slot))
    structured.configure(worker=order.slot)
    news = NewsFeed()
    threading.Thread(target=_end_with_supervisor, args=(news,), daemon=True).start()
    run: Run = importlib.import_module(order.module).run
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(run, order, settings, news))
    except asyncio.CancelledError:
        return 0  # told to end before the doors were open
    except (BadSetting, CredentialError, StoreRefused) as error:
        sys.stderr.write(f"rhopush serve: {error.message}\n")
        return EXIT_SETTINGS
    except RhoPushError as error:
        _log.error("ended", error=error.message)
        return 1
    return 0


def _die_with_parent() -> None:
    """Have Linux kill this process when the supervisor ends: one that is stopped cannot see the end of a pipe.

    prctl(2), PR_SET_PDEATHSIG. Elsewhere, and where the supervisor ended before this call, the pipe must do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_supervisor(news: NewsFeed) -> None:
    """Pass news on until the pipe ends. A thread, so that a loop that is stuck cannot outlive its supervisor.

    Reads the descriptor itself: a thread that waits inside `sys.stdin` would hold its lock at our own end.
    """
    for line in read_lines(_STDIN):
        news.tell(line)
    _end_at_once()


async def _work(run: Run, order: Order, settings: Settings, news: NewsFeed) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stop = asyncio.Event()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)  # nothing was accepted yet: nothing to drain
    os.set_blocking(order.status_fd, False)
    return_large_blocks()

    def beat() -> None:
        _tell(order.status_fd, BEAT)
        loop.call_later(BEAT_S, beat)

    def ready() -> None:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        gc_policy.spare()
        _tell(order.status_fd, READY)

    beat()
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket(fileno=order.socket_fd))
        more: dict[str, Any] = {}
        if order.rps_fd is not None:
            more["rps_sock"] = sockets.enter_context(socket.socket(fileno=order.rps_fd))
        reporting = Reporting(socket.socket(fileno=order.metrics_fd))
        sockets.callback(reporting.close)
        await run(
            settings,
            slot=order.slot,
            gateway_id=order.gateway_id,
            sock=listener,
            stop=stop,
            ready=ready,
            workers=order.workers,
            supervision=Supervision(news, reporting),
            **more,
        )


def _tell(status_fd: int, word: bytes) -> None:
    try:
        os.write(status_fd, word)
    except BlockingIOError:
        return  # the supervisor is slow; there are enough beats in the pipe
    except BrokenPipeError:
        _end_at_once()


def _end_at_once() -> NoReturn:
    """The supervisor is gone. What was logged may say why, so it is given a moment to be written."""
    writer.flush(_LAST_WORDS_S)
    os._exit(_EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
