"""The gateway as a real process: `rhopush serve` with its own settings in its own folder."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import yaml

from tests.support import constants as tested_constants
from tests.support.fork_parent import Order
from tests.support.prepared import Fork, fork

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests"
_READY_BUDGET_S = 30.0
_STOP_BUDGET_S = 40.0
_KILL_BUDGET_S = 10.0
_SETTINGS_OF_OURS = ("RHOPUSH_", "REDIS", "RHO_ENV", "RACK_ENV", "API_TOKEN", "PSWRD", "GOOGLE_APPLICATION")
_READ_AT_THE_START = ("PYTHON", "LD_")
"""Environment variables of the interpreter and of the loader."""
_RUN = "import sys; from {module} import main; sys.exit(main())"


class Answer(NamedTuple):
    """A complete HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ping_id(self) -> str:
        """The id that the gateway assigned to the ping."""
        return self.headers["X-Ping-Id"]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Gateway:
    """One supervisor with its workers.

    Args:
        folder: an empty folder for settings.yml, the data folder and the log.
        settings: the `:gateway:` part of the settings file.
        app: keys beside `:gateway:` (`redis`, `iphonecertificates`, `fcm_project_id`, ...).
        sources: the `:sources:` part.
        workers: number of worker processes.
        environ: further environment variables.
        stderr: a descriptor for its log; None: the file `log`.
        constants: other values of constants in the workers (`tests.support.constants`).
        fresh: start new interpreters instead of forks (`tests.support.prepared`).
    """

    def __init__(  # all parameters that a test may need
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        app: Mapping[str, Any] | None = None,
        sources: Mapping[str, Any] | None = None,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
        stderr: int | None = None,
        constants: Mapping[str, Any] | None = None,
        fresh: bool = False,
    ) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "log"
        self.settings_file = folder / "settings.yml"
        self.token = TOKEN
        self.url = ""
        self._workers = workers
        self._stderr = stderr
        self._environ = dict(environ or {})
        self._fresh = fresh or any(name.startswith(_READ_AT_THE_START) for name in self._environ)
        self._module = "gateway.cli"
        if constants is not None:
            self._environ[tested_constants.VARIABLE] = json.dumps(constants)
            self._module = tested_constants.__name__
        self._process: asyncio.subprocess.Process | Fork | None = None
        settings = dict(settings or {})
        settings["rhoconnect_push"] = {"port": 0, **settings.get("rhoconnect_push", {})}
        gateway = {"data_dir": str(self.data_dir), **settings}
        document = {"development": {"api_token": TOKEN, **(app or {}), "gateway": gateway}}
        self.settings_file.write_text(yaml.safe_dump({"sources": dict(sources or {}), **document}))

    async def start(self) -> None:
        """Start the process and wait for its `ready http://HOST:PORT` line."""
        words = ["serve", "--settings", str(self.settings_file)]
        words += ["--env", "development", "--port", "0", "--workers", str(self._workers)]
        with self.log.open("ab") as log:
            stderr = log.fileno() if self._stderr is None else self._stderr
            self._process = await (self._interpreter if self._fresh else self._fork)(words, stderr)
        self.url = await self._ready()

    async def _fork(self, words: list[str], stderr: int) -> Fork:
        environ = {**_clean_environ(), **self._environ}
        return await fork(Order(self._module, words, str(ROOT), environ), stderr)

    async def _interpreter(self, words: list[str], stderr: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _RUN.format(module=self._module), *words),
            cwd=ROOT,
            env={**_clean_environ(), **self._environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )

    async def _ready(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(_READY_BUDGET_S):
                async for line in self._process.stdout:
                    word, _, url = line.decode().strip().partition(" ")
                    if word == "ready":
                        return url
                status = await self._process.wait()
        except TimeoutError:
            status = None
        raise AssertionError(f"no ready line (exit status {status}); its log ends:\n{self.log_tail()}")

    @property
    def rhoconnect_push_url(self) -> str:
        """The URL for RhoConnect Push devices, from the supervisor's log."""
        lines = [line for line in self.log.read_text().splitlines() if '"rhoconnect_push_listening"' in line]
        return str(json.loads(lines[-1])["url"])

    @property
    def host(self) -> str:
        """The host on which it listens."""
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(urlsplit(self.url).port or 0)

    def log_tail(self, characters: int = 4000) -> str:
        """The end of the gateway's output on stderr."""
        return self.log.read_text(errors="replace")[-characters:]

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None, "the gateway was not started"
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The supervisor and its workers, without the embedded store."""
        return [self.supervisor, *self.workers]

    @property
    def workers(self) -> list[int]:
        """The worker processes that run now."""
        return [pid for pid in _descendants(self.supervisor) if "valkey" not in _command_line(pid)]

    def kill(self, pid: int, *more: int) -> None:
        """`kill -9` the given processes, and return once they have ended."""
        for one in (pid, *more):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        deadline = time.monotonic() + _KILL_BUDGET_S
        while any(_parent(one) is not None for one in (pid, *more)):
            assert time.monotonic() < deadline, f"of {(pid, *more)} some still run after kill -9"
            time.sleep(0.001)

    def kill_all(self) -> None:
        """`kill -9` the supervisor and all workers."""
        self.kill(*self.pids)

    async def stop(self) -> int:
        """Send SIGTERM to the supervisor, and return its exit status once it has drained."""
        assert self._process is not None, "the gateway was not started"
        self._process.terminate()
        return await self.wait()

    async def wait(self) -> int:
        """The supervisor's exit status, once it has ended."""
        assert self._process is not None, "the gateway was not started"
        async with asyncio.timeout(_STOP_BUDGET_S):
            return await self._process.wait()

    async def close(self) -> None:
        """End all remaining processes of this gateway: the store survives a `kill -9`."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self.kill_all()
        await self._process.wait()
        for pid in _running():
            if str(self.data_dir) in _command_line(pid) or _folder(pid).is_relative_to(self.data_dir):
                os.kill(pid, signal.SIGKILL)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """Send one request with the API token in its header."""
        headers = {"X-RhoConnect-API-TOKEN": self.token, **options.pop("headers", {})}
        async with (
            aiohttp.ClientSession(self.url) as session,
            session.request(method, path, headers=headers, **options) as answer,
        ):
            return Answer(answer.status, await answer.read(), answer.headers)

    async def ping(self, user_id: str | list[str], **parameters: Any) -> Answer:
        """Send RhoConnect's ping, as JSON."""
        return await self.request("POST", "/rc/v1/users/ping", json={"user_id": user_id, **parameters})

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _clean_environ() -> dict[str, str]:
    """The environment without variables that would change the gateway's settings."""
    return {name: text for name, text in os.environ.items() if not name.startswith(_SETTINGS_OF_OURS)}


def _running() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # the process ended meanwhile
        return ""


def _folder(pid: int) -> Path:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return Path("/")


def _parent(pid: int) -> int | None:
    """The parent of a process; None: the process has ended, even if its parent has not yet read its exit status."""
    try:
        # The name in brackets may contain spaces: state and parent are the fields after it.
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" else int(parent)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for child in _running():
        parent = _parent(child)
        if parent is not None:
            parents.setdefault(parent, []).append(child)
    found = list(parents.get(pid, []))
    for child in found:
        found.extend(parents.get(child, []))
    return found
