"""The supervisor with real processes: ready, fallen, frozen and orphaned workers, draining and its end.

The workers are stand-ins that need no store; `tests/gateway/cli/test_serve.py` has the real ones.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store.embedded import socket_path
from tests.support.signals import dispositions

ROOT = Path(__file__).parents[3]
BUDGET_S = 30.0

PROGRAM = """
import json, sys
from pathlib import Path
from gateway.server.reload import SettingsReloader
from gateway.server.supervisor import ServerOptions, Supervisor
from gateway.settings import load
from gateway.errors import RhoPushError
def read():
    return load(Path(sys.argv[3]) if sys.argv[3] else None, None, json.loads(sys.argv[1]))
settings = read()
reading = SettingsReloader(Path(sys.argv[3]), read, settings) if sys.argv[3] else None
options = ServerOptions(
    port=0, workers=int(sys.argv[2]), module="tests.gateway.server.stand_in_worker", unresponsive_after_s=2.5
)
try:
    sys.exit(Supervisor(settings, options, reading).run())
except RhoPushError as error:
    sys.exit(error.message)
"""

STOPPED_AT_START = """
import os, signal, sys
if sys.orig_argv[-1].endswith("worker_start"):
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Run:
    """A supervisor process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.process: asyncio.subprocess.Process
        self.log = folder / "log"
        self.file = ""
        """The settings file, which is reloaded; "": there is none."""

    async def start(self, workers: int = 2, **environ: str) -> None:
        """Start it with these settings; without a Redis if `RHOPUSH_REDIS` is empty."""
        said = {"RHOPUSH_DATA_DIR": str(self.folder / "data"), "RHOPUSH_REDIS": "nowhere"}
        said |= {"RHOPUSH_RHOCONNECT_PUSH_MODE": "off", **environ}
        said = {name: value for name, value in said.items() if value}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, json.dumps(said), str(workers), self.file),
                cwd=ROOT,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    async def ready(self) -> None:
        """The `ready` line must be the first on stdout."""
        line = await self.line()
        assert line.startswith("ready http://127.0.0.1:"), line + self.log.read_text()
        self.port = int(line.rpartition(":")[2])

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(BUDGET_S):
            return (await self.process.stdout.readline()).decode().strip()

    async def say(self, word: str) -> dict[str, Any]:
        """Send a word to whichever worker takes the connection; {} if it was lost meanwhile."""
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(word.encode() + b"\n")
            said = await reader.readline()
            writer.close()
            return dict(json.loads(said)) if said else {}
        return {}

    async def slots(self, wanted: set[int]) -> dict[int, int]:
        """The process ids by slot, once a worker of each wanted slot has answered."""
        found: dict[int, int] = {}
        async with asyncio.timeout(BUDGET_S):
            while not wanted <= found.keys():
                answers = await asyncio.gather(*(self.say("who") for _ in range(8)))
                found |= {about["slot"]: about["pid"] for about in answers if about}
        return found

    async def logged(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first log line of an event, waited for."""
        async with asyncio.timeout(BUDGET_S):
            while True:
                for line in self.log.read_text().splitlines():
                    found = json.loads(line) if line.startswith("{") else {}
                    if found.get("event") == event and fields.items() <= found.items():
                        return dict(found)
                await asyncio.sleep(0.02)

    async def end(self) -> int:
        async with asyncio.timeout(BUDGET_S):
            return await self.process.wait()


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    started = Run(tmp_path)
    yield started
    if started.process.returncode is None:
        started.process.kill()
    await started.process.communicate()


async def test_ready_is_printed_once_and_sigterm_ends_with_0(run: Run) -> None:
    await run.start(workers=2)
    await run.ready()
    pids = await run.slots({0, 1})
    assert len(set(pids.values())) == 2
    run.process.terminate()
    assert await run.line() == ""
    assert await run.end() == 0
    assert not any(alive(pid) for pid in pids.values())


async def test_the_legacy_services_socket_is_bound_once_for_all_workers(run: Run) -> None:
    await run.start(workers=2, RHOPUSH_RHOCONNECT_PUSH_MODE="builtin", RHOPUSH_RHOCONNECT_PUSH_PORT="0")
    await run.ready()
    url = (await run.logged("rhoconnect_push_listening"))["url"]
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.close()
    about = await run.say("who")
    assert about["rhoconnect_push_port"] == int(url.rpartition(":")[2])


async def test_the_gateway_serves_and_logs_if_the_default_push_port_is_in_use(run: Run) -> None:
    with contextlib.ExitStack() as taken:
        with contextlib.suppress(OSError):  # somebody else has it: as good
            taken.enter_context(socket.create_server(("127.0.0.1", 8675)))
        await run.start(workers=1, RHOPUSH_RHOCONNECT_PUSH_MODE="builtin")
        await run.ready()
        await run.logged("rhoconnect_push_disabled")
        assert (await run.say("who"))["rhoconnect_push_port"] is None


async def test_a_configured_push_port_in_use_ends_the_start(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await run.start(
            workers=1, RHOPUSH_RHOCONNECT_PUSH_MODE="builtin", RHOPUSH_RHOCONNECT_PUSH_PORT=str(port)
        )
        assert await run.end() == 1
    assert f"cannot listen on 127.0.0.1:{port} (rhoconnect_push.port): " in run.log.read_text()


async def test_a_port_for_metrics_in_use_ends_the_start_and_names_its_setting(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        await run.start(workers=1, RHOPUSH_METRICS_PORT=str(port))
        assert await run.end() == 1
    assert f"cannot listen on 127.0.0.1:{port} (metrics.port): " in run.log.read_text()


async def test_sigint_drains_too(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    run.process.send_signal(signal.SIGINT)
    assert await run.end() == 0


async def test_sighup_without_a_reloader_is_logged_and_changes_nothing(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    before = await run.slots({0})
    run.process.send_signal(signal.SIGHUP)
    await run.logged("settings_reload_suspended")
    assert await run.slots({0}) == before


async def test_signals_that_are_ignored_at_the_start_are_caught_nevertheless(run: Run) -> None:
    """nohup has SIGHUP ignored, a shell without job control SIGINT; the gateway goes on at a hang-up either way."""
    with dispositions(signal.SIG_IGN):
        await run.start(workers=1)
    await run.ready()
    before = await run.slots({0})
    run.process.send_signal(signal.SIGHUP)
    await run.logged("settings_reload_suspended")
    assert await run.slots({0}) == before
    run.process.send_signal(signal.SIGINT)
    assert await run.end() == 0


async def test_a_killed_worker_is_started_again_in_its_slot(run: Run) -> None:
    await run.start(workers=2)
    await run.ready()
    before = await run.slots({0, 1})
    os.kill(before[1], signal.SIGKILL)
    await run.logged("worker_exited", worker=1, status=-9)
    await run.logged("worker_started", worker=1, pid=(await run.slots({0, 1}))[1])
    after = await run.slots({0, 1})
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("how", ["stopped by a signal", "stuck in a call"])
async def test_an_unresponsive_worker_is_replaced(run: Run, how: str) -> None:
    await run.start(workers=1)
    await run.ready()
    frozen = (await run.slots({0}))[0]
    if how == "stuck in a call":
        _, writer = await worded(run, "stick")
        writer.close()
    else:
        os.kill(frozen, signal.SIGSTOP)
    assert (await run.logged("worker_unresponsive"))["pid"] == frozen
    assert (await run.slots({0}))[0] != frozen
    assert not alive(frozen)


async def test_workers_end_with_their_supervisor_and_a_successor_takes_over(run: Run) -> None:
    await run.start(workers=2)
    await run.ready()
    pids = await run.slots({0, 1})
    gateway_id = (await run.say("who"))["gateway_id"]
    run.process.kill()
    await run.process.communicate()
    await run.start(workers=2)
    await run.ready()
    assert not any(alive(pid) for pid in pids.values())
    assert (await run.say("who"))["gateway_id"] == gateway_id


def open_files(pid: int) -> set[str]:
    """Names of a process' open files; it may open and close others meanwhile."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(link.readlink().name)
    return found


async def test_a_worker_holds_the_lock_that_a_successor_waits_for(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    pid = (await run.slots({0}))[0]
    held = open_files(pid)
    assert "workers.lock" in held
    assert "supervisor.lock" not in held


async def test_a_stopped_worker_does_not_block_a_successor(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    pid = (await run.slots({0}))[0]
    os.kill(pid, signal.SIGSTOP)  # it cannot see the end of its pipe
    run.process.kill()
    await run.process.communicate()
    await run.start(workers=1)
    await run.ready()
    assert not alive(pid)


async def test_a_worker_that_does_not_read_its_settings_blocks_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are longer than a pipe holds, and the new process is stopped before it reads them."""
    (tmp_path / "sitecustomize.py").write_text(STOPPED_AT_START)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    apps = {f"com.example.app{number}": {"apns": {"topic": "t" * 60}} for number in range(700)}
    await run.start(workers=1, RHOPUSH_APPS=json.dumps(apps))
    pid = (await run.logged("worker_started"))["pid"]
    async with asyncio.timeout(BUDGET_S):
        while " T " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.02)
    os.kill(pid, signal.SIGCONT)
    await run.ready()
    assert (await run.say("who"))["apps"] == len(apps)


async def test_a_worker_that_starts_after_a_failed_reload_reports_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(":development:\n  :gateway:\n    drain_s: 1\n")
    run.file = str(file)
    await run.start(workers=1)
    await run.ready()
    assert (await run.say("who"))["reload_error"] is None
    file.write_text(":development:\n  :gateway:\n    drain_s: soon\n")
    run.process.send_signal(signal.SIGHUP)
    await run.logged("settings_reload_failed")
    before = (await run.say("who"))["pid"]
    await run.say("fall")
    async with asyncio.timeout(BUDGET_S):
        while (about := await run.say("who")).get("pid", before) == before:
            await asyncio.sleep(0.02)
    assert "drain_s" in about["reload_error"]


async def worded(run: Run, word: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose worker has taken the word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
    writer.write(word.encode() + b"\n")
    assert await reader.readline() == word.encode() + b"ing\n"
    return reader, writer


async def lingering(run: Run) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that a draining worker waits for."""
    return await worded(run, "linger")


async def test_a_worker_that_is_stuck_ends_with_its_supervisor(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    pid = (await run.slots({0}))[0]
    _, writer = await worded(run, "stick")
    run.process.kill()
    await run.process.communicate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BUDGET_S):
            while alive(pid):
                await asyncio.sleep(0.02)
    assert not alive(pid)
    writer.close()


async def test_work_in_progress_is_finished_before_the_end(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    reader, writer = await lingering(run)
    run.process.terminate()
    await run.logged("gateway_draining")
    writer.write(b"go on\n")
    assert json.loads(await reader.readline())["slot"] == 0
    writer.close()
    assert await run.end() == 0


async def test_a_second_signal_forces(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    reader, writer = await lingering(run)
    run.process.terminate()
    await run.logged("gateway_draining")
    run.process.terminate()
    assert await run.end() == 1
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_a_drain_ends_with_its_budget(run: Run) -> None:
    await run.start(workers=1, RHOPUSH_DRAIN_S="0.1")
    await run.ready()
    _, writer = await lingering(run)
    run.process.terminate()
    assert await run.end() == 0
    writer.close()


async def test_a_signal_during_the_start_ends_it(run: Run) -> None:
    await run.start(workers=1, RHOPUSH_APNS_TOPIC="slow-start")
    pid = (await run.logged("worker_started"))["pid"]
    run.process.terminate()
    assert await run.end() == 0
    assert not alive(pid)


async def test_a_signal_during_the_start_of_the_embedded_store_ends_it(run: Run) -> None:
    folder = run.folder / "data" / "valkey"
    folder.mkdir(parents=True)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as unresponsive, (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unresponsive.bind(str(socket_path(folder)))
        unresponsive.listen()
        unresponsive.setblocking(False)
        await run.start(workers=1, RHOPUSH_REDIS="")
        async with asyncio.timeout(BUDGET_S):
            (await loop.sock_accept(unresponsive))[0].close()
        run.process.terminate()
    assert await run.end() == 0
    assert run.log.read_text() == ""


async def test_a_setting_that_only_a_worker_can_judge_ends_with_2(run: Run) -> None:
    await run.start(workers=2, RHOPUSH_APNS_TOPIC="bad-setting")
    assert await run.end() == 2
    assert "rhopush serve: apns.topic: a worker found it bad\n" in run.log.read_text()
    assert await run.line() == ""


async def test_the_supervisor_gives_up_workers_that_never_become_ready(run: Run) -> None:
    await run.start(workers=1, RHOPUSH_APNS_TOPIC="store-down")
    assert await run.end() == 1
    assert run.log.read_text().count("Redis does not answer") == 5


async def test_a_second_gateway_on_the_folder_is_refused(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    second = Run(run.folder)
    second.log = run.folder / "second"
    await second.start(workers=1)
    assert await second.end() == 1
    assert "another gateway runs on" in second.log.read_text()
    assert second.log.read_text().count("\n") == 1
    assert (await run.say("who"))["slot"] == 0


async def test_the_supervisor_stays_small(run: Run) -> None:
    await run.start(workers=1)
    await run.ready()
    maps = Path(f"/proc/{run.process.pid}/maps").read_text()
    for library in ("_rust.abi3", "_http_parser", "uvloop", "hiredis", "_asyncio", "_ssl"):
        assert library not in maps, library
