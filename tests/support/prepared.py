"""Gateways as forks of one process that has imported their modules.

The imports of a supervisor and a worker take more CPU than most tests that need a running gateway, and the tests start
hundreds. A fork runs the same code in a process of its own, with its own id, session, descriptors and environment. It
inherits only modules in which nothing has run. Its supervisor forks the workers in the same way.

Starts of new interpreters have tests of their own: `tests/gateway/cli`, `tests/gateway/server`, `tests/gateway/bench`,
and every `Gateway` with `fresh=True` or with environment variables that the interpreter or the loader reads.
"""

import asyncio
import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final

import pytest

from tests.support.fork_parent import Order

ROOT: Final = Path(__file__).parents[2]
_BENCH_MODULES: Final = ("gateway.bench.child", "gateway.bench.gateway")
_MEASURED: Final = "gateway.bench.roles.bulk_load"
"""The role whose own CPU is a figure: without the start of an interpreter it may be less than /proc counts."""


class ForkParent:
    """The process that forks."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_parent", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal reaches pytest, which ends the process
            )

    def fork(self, order: Order, stdin: int, stdout: int, stderr: int) -> int:
        """Fork a process with these descriptors, and return the pipe with its status."""
        status, status_end = os.pipe()
        socket.send_fds(self._control, [json.dumps(order).encode()], [stdin, stdout, stderr, status_end])
        os.close(status_end)
        return status

    def close(self) -> None:
        """End the process; the forks continue."""
        self._control.close()
        self._process.wait()


@functools.cache
def fork_parent() -> ForkParent:
    """The process of this test run; it ends with pytest."""
    made = ForkParent()
    atexit.register(made.close)
    return made


class _Status(asyncio.Protocol):
    """The two lines of `tests.support.fork_parent` about one process."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pid: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._text = b""

    def data_received(self, data: bytes) -> None:
        self._text += data
        for line, future in zip(self._text.split(b"\n")[:-1], (self.pid, self.ended), strict=False):
            if not future.done():
                future.set_result(int(line))

    def connection_lost(self, _: Exception | None) -> None:
        for future in (self.pid, self.ended):
            future.cancel()


class Fork:
    """A running fork, with the part of `asyncio.subprocess.Process` that `Gateway` uses.

    Attributes:
        pid: its process id.
        stdout: its standard output.
    """

    def __init__(self, status: _Status, stdout: asyncio.StreamReader, close: Callable[[], None]) -> None:
        self.pid = status.pid.result()
        self.stdout = stdout
        self._ended = status.ended
        self._close = close

    @property
    def returncode(self) -> int | None:
        """The exit status; None: it runs."""
        return self._ended.result() if self._ended.done() else None

    def terminate(self) -> None:
        """Send SIGTERM."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        status = await asyncio.shield(self._ended)
        self._close()
        return status


async def fork(order: Order, stderr: int) -> Fork:
    """Fork a process; `stderr` is its standard error."""
    loop = asyncio.get_running_loop()
    output, output_end = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    status = fork_parent().fork(order, nothing, output_end, stderr)
    os.close(nothing)
    os.close(output_end)
    stdout = asyncio.StreamReader()
    told, protocol = await loop.connect_read_pipe(_Status, os.fdopen(status, "rb"))
    read, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(output, "rb")
    )

    def close() -> None:
        told.close()
        read.close()

    await protocol.pid
    return Fork(protocol, stdout, close)


class ForkedChild:
    """A running fork, with the part of `subprocess.Popen` that `gateway.bench` uses."""

    def __init__(self, order: Order, stdin: int | None, stderr: int) -> None:
        given, given_end = os.pipe()
        output, output_end = os.pipe()
        self._status = os.fdopen(fork_parent().fork(order, given, output_end, stderr), "rb")
        os.close(given)
        os.close(output_end)
        self.stdin: IO[bytes] = os.fdopen(given_end, "wb")
        self.stdout: IO[bytes] = os.fdopen(output, "rb")
        if stdin == subprocess.DEVNULL:
            self.stdin.close()
        self.pid = int(self._status.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status; None: it runs."""
        return self._collect(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended; TimeoutExpired: not within so many seconds."""
        status = self._collect(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _collect(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout_s)[0]:
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode


def _started(command: Sequence[str], *, stdin: int | None = None, **options: Any) -> Any:
    """Start a process of the load tool: its gateway and its roles as forks."""
    if command[0] != sys.executable or command[2] == _MEASURED:
        return subprocess.Popen(command, stdin=stdin, **options)
    environ: Mapping[str, str] = options.get("env", os.environ)
    module = command[2] if command[1] == "-m" else "gateway.cli"
    return ForkedChild(
        Order(module, command[3:], str(Path.cwd()), {**environ}), stdin, options["stderr"].fileno()
    )


@contextmanager
def bench_forked() -> Iterator[None]:
    """Let `gateway.bench` fork its gateways and the processes of its roles."""
    replaced = SimpleNamespace(**{**vars(subprocess), "Popen": _started})
    with pytest.MonkeyPatch.context() as patch:
        for name in _BENCH_MODULES:
            patch.setattr(f"{name}.subprocess", replaced)
        yield
