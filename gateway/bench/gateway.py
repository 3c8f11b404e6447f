"""`rhopush serve` as a process, as it is shipped: logs, metrics, receipts and durability on."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import msgspec

from gateway.bench.errors import CannotMeasure
from gateway.bench.interrupts import uninterrupted
from gateway.bench.usage import command_line, family
from gateway.bench.wire import CALLER_KEY

_RUN: Final = "import sys; from gateway.cli import main; sys.exit(main())"
# Environment variables that would change its settings.
_OURS: Final = (
    "RHOPUSH_",
    "REDIS",
    "RHO_ENV",
    "RACK_ENV",
    "API_TOKEN",
    "PSWRD",
    "GOOGLE_APPLICATION",
    "PROMETHEUS_",
)
_END_S: Final = 40.0


class Gateway:
    """One supervisor with its workers.

    Args:
        settings: the settings file.
        folder: folder of its data folder and log.
        redis: address of its Redis; None: its embedded one.
        workers: number of worker processes.
        environ: further environment variables.

    Attributes:
        port: its port on 127.0.0.1.
    """

    def __init__(
        self,
        settings: str,
        folder: Path,
        redis: str | None,
        workers: int,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._log = folder / "gateway.log"
        variables = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
        variables |= {"API_TOKEN": CALLER_KEY, "RHOPUSH_DATA_DIR": str(folder / "data")}
        variables["RHOPUSH_EVENTS_SOURCES"] = (
            '["Product"]'  # for `ingress`; the other scenarios publish nothing
        )
        if redis is not None:
            variables["RHOPUSH_REDIS"] = redis
        variables |= environ
        command = [sys.executable, "-c", _RUN, "serve", "--settings", settings, "--env", "development"]
        command += ["--port", "0", "--workers", str(workers)]
        with ExitStack() as broken_off:  # an interruption at this point leaves the caller nothing to close
            with uninterrupted(), self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    process_group=0,
                )
                broken_off.callback(self.close)
            self.port = self._ready()
            broken_off.pop_all()

    def _ready(self) -> int:
        for line in self._process.stdout or ():
            word, _, url = line.decode().strip().partition(" ")
            if word == "ready":
                return int(url.rpartition(":")[2])
        raise CannotMeasure(f"the gateway did not start: {self._last_words()}")

    def check(self) -> None:
        """Check that the gateway still runs.

        Raises:
            CannotMeasure: it has ended.
        """
        if self._process.poll() is not None:
            raise CannotMeasure(f"the gateway ended with {self._process.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def get(self, path: str, timeout_s: float) -> tuple[int, str]:
        """Send a GET request on a connection of its own, and return the status and the body of the response.

        Raises:
            CannotMeasure: it is not answered in time.
        """
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            link.request("GET", path)
            response = link.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise CannotMeasure(f"{path} was not answered: {error}") from error
        finally:
            link.close()

    @property
    def push_port(self) -> int:
        """The RhoConnect Push port.

        Raises:
            CannotMeasure: the log does not contain it.
        """
        for line in self._log.read_bytes().splitlines():
            if b'"rhoconnect_push_listening"' in line:
                return int(msgspec.json.decode(line)["url"].rpartition(":")[2])
        raise CannotMeasure("the gateway has no RhoConnect Push port")

    @property
    def pids(self) -> list[int]:
        """Process ids of supervisor and workers, without the embedded store."""
        return [pid for pid in family(self._process.pid) if "valkey-server" not in command_line(pid)]

    def close(self) -> None:
        """Send SIGTERM, then SIGKILL to the processes that do not end, or at a second Ctrl-C."""
        self._process.send_signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        finally:
            self._kill()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def _kill(self) -> None:
        """Send SIGKILL to all remaining processes, if the supervisor is among them."""
        if self._process.poll() is not None:
            return
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
