"""The process that has imported the modules of the gateway, and forks each gateway: see `tests.support.prepared`.

`python -m tests.support.fork_parent FD`: each message on the socket FD is an `Order`, with four descriptors: standard
input, output and error of the fork, and a pipe for its status. The pipe receives two lines: the id of the fork, and its
exit status once it has ended. The process ends with the socket.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import IO, Final, NamedTuple, NoReturn

from gateway.logs import writer
from gateway.server import supervisor, worker_start
from gateway.server.gc_policy import paused_collections
from gateway.system.unused_packages import unused_packages_hidden

ORDER_BYTES: Final = 128 * 1024
DESCRIPTORS: Final = 4
_MODULES: Final = ("gateway.cli.serve", "gateway.server.process", "gateway.server.worker")
_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Order(NamedTuple):
    """One process to fork.

    Attributes:
        module: the module to run: its `main` or, if it has none, the module itself as by `python -m`.
        words: the arguments of the command line.
        folder: its working directory.
        environ: its whole environment.
    """

    module: str
    words: Sequence[str]
    folder: str
    environ: dict[str, str]


class ForkedWorker:
    """A worker as a fork of its supervisor, with the part of `subprocess.Popen` that the supervisor uses.

    Args:
        pass_fds: the descriptors that the worker inherits.
    """

    def __init__(self, *_: object, pass_fds: Sequence[int], **__: object) -> None:
        orders, orders_end = os.pipe()
        self.returncode: int | None = None
        self.pid = _forked()
        if not self.pid:
            os.setpgid(0, 0)
            _set_descriptors((orders, 2, 2), pass_fds)
            _exit_with(worker_start.main)
        os.close(orders)
        self.stdin: IO[bytes] = os.fdopen(orders_end, "wb")

    def poll(self) -> int | None:
        """The exit status; None: it runs."""
        return self._collect(os.WNOHANG)

    def wait(self) -> int | None:
        """The exit status, once it has ended."""
        return self._collect(0)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _collect(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _forked() -> int:
    """Fork. Signals to the new process wait until `_exit_with` has set their default handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    with warnings.catch_warnings():
        # From Python 3.12 on, fork warns in a process with threads: the supervisor's writes its log, and the fork makes
        # one of its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _set_descriptors(standard: Sequence[int], kept: Sequence[int] = ()) -> None:
    """Make `standard` the descriptors 0 to 2 of this process, keep those of `kept`, and close all others."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def _exit_with(main: Callable[[], int]) -> NoReturn:
    """Run `main` as a new process does, and end this process with its status."""
    signal.set_wakeup_fd(-1)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    vars(writer)["_writers"].clear()  # those of the parent process, which has their threads
    status = 1
    try:
        status = main()
        sys.stdout.flush()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        writer.flush()
        os._exit(status)


class Children:
    """The forks of this process, and the pipes for their statuses."""

    def __init__(self) -> None:
        self._pipes: dict[int, int] = {}

    def fork(self, order: Order, descriptors: Sequence[int]) -> None:
        """Fork a process, and write its id into its pipe."""
        *standard, pipe = descriptors
        importlib.import_module(order.module)
        pid = _forked()
        if not pid:
            os.setsid()
            _set_descriptors(standard)
            _exit_with(lambda: _run(order))
        for descriptor in standard:
            os.close(descriptor)
        self._pipes[pid] = pipe
        _write(pipe, pid)

    def collect(self) -> None:
        """Write the statuses of the processes that have ended."""
        while self._pipes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            pipe = self._pipes.pop(pid)
            _write(pipe, os.waitstatus_to_exitcode(status))
            os.close(pipe)


def _write(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, b"%d\n" % number)


def _run(order: Order) -> int:
    """Run the module of an order; if it is a supervisor, it forks its workers."""
    os.environ.clear()
    os.environ.update(order.environ)
    time.tzset()
    os.chdir(order.folder)
    sys.argv[1:] = order.words
    vars(supervisor)["subprocess"] = SimpleNamespace(Popen=ForkedWorker, PIPE=subprocess.PIPE)
    main = getattr(importlib.import_module(order.module), "main", None)
    if main is not None:
        return int(main())
    del sys.modules[order.module]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)
    return 0


def _serve(control: socket.socket) -> None:
    with paused_collections(), unused_packages_hidden():
        for name in _MODULES:
            importlib.import_module(name)
    gc.freeze()
    ended, woken = socket.socketpair()
    for end in (ended, woken):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno())
    children = Children()
    while True:
        readable, _, _ = select.select([control, ended], [], [])
        if ended in readable:
            ended.recv(4096)
            children.collect()
        if control in readable:
            message, descriptors, _, _ = socket.recv_fds(control, ORDER_BYTES, DESCRIPTORS)
            if not message:
                return
            children.fork(Order(*json.loads(message)), descriptors)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
