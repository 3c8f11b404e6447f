"""The demo as a newcomer meets it: one command, its own curl line, a line a push, and Ctrl-C."""

import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.requirements import need_program

DEMO = [sys.executable, "-c", "from gateway.cli import main; raise SystemExit(main())", "demo", "--port"]
START_S = 60


class Demo:
    """The demo as a process, and its lines as they come."""

    def __init__(self, port: int, **environ: str) -> None:
        self.process = subprocess.Popen(
            [*DEMO, str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **environ},
        )
        self.lines: list[str] = []
        self.reading = threading.Event()  # cleared: nobody reads
        self.reading.set()
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.reading.wait()
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()

    def line(self, pattern: str) -> str:
        """Wait for a line."""
        with self._more:
            found = self._more.wait_for(
                lambda: next(filter(re.compile(pattern).match, self.lines), None), START_S
            )
        assert found, f"no line {pattern!r} in {self.lines}"
        return str(found)

    def close(self) -> None:
        # The gateway has a session of its own: killing the demo would leave it.
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=START_S)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """One demo; the last of the tests that use it ends it."""
    running = Demo(0)
    yield running
    running.close()


def _processes(folder: str) -> list[str]:
    """Command lines of whatever still works in the demo's folder."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it ended while we looked
            continue
    return [command for command in commands if folder in command]


def test_the_printed_curl_command_reaches_all_three_devices(demo: Demo) -> None:
    need_program("curl", "curl")
    url = demo.line(r"ready http://127\.0\.0\.1:\d+$").removeprefix("ready ")
    curl = shlex.split(demo.line("curl "))
    assert curl[2] == f"{url}/rc/v1/users/ping"
    assert demo.line("API token ").removeprefix("API token ") in " ".join(curl)
    answer = subprocess.run(
        [*curl, "--silent", "--max-time", "20"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("HTTP/1.1 200")
    assert re.match(r"apns \w{8}… 'hello world' sync=Product vibrate=2000 \d+ ms$", demo.line("apns "))
    assert re.match(r"fcm  .{8}… 'hello world' sync=Product vibrate=2000 \d+ ms$", demo.line("fcm "))
    assert "'hello world' vibrate=2000 do_sync=['Product']" in demo.line("rhoconnect_push ")
    own = [word.replace('"hello world"', '"own", "collapse_id": "face"') for word in curl]
    subprocess.run([*own, "--silent", "--max-time", "20"], capture_output=True, check=True)
    assert re.search(r"'own' sync=Product vibrate=2000 \d{1,6} ms$", demo.line("apns .* 'own'"))
    assert re.search(r"'own' sync=Product vibrate=2000$", demo.line("fcm .* 'own'"))


def test_a_stalled_reader_blocks_nothing(demo: Demo) -> None:
    url = demo.line(r"ready http").removeprefix("ready ")
    token = demo.line("API token ").removeprefix("API token ")
    demo.line("curl ")
    assert demo.process.stdout is not None
    fcntl.fcntl(demo.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    demo.reading.clear()
    for number in range(200):  # a line each, and the pipe holds some 50
        body = json.dumps({"user_id": "alice", "message": f"number {number}", "wait": True})
        request = urllib.request.Request(f"{url}/rc/v1/users/ping", body.encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("X-RhoConnect-API-TOKEN", token)
        with urllib.request.urlopen(request, timeout=START_S) as answer:  # its phone has it
            assert answer.status == 200
    demo.reading.set()
    demo.line("apns .* 'number 199'")
    shown = [line for line in demo.lines if "'number " in line]
    assert len(shown) == 200


def test_ctrl_c_ends_the_demo(demo: Demo) -> None:
    demo.line(r"ready http")
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_text() for child in children]
    folders = set(re.findall(r"rhopush-demo-\w+", " ".join(commands)))  # other demos may run on this machine
    assert len(folders) == 1, commands
    (folder,) = folders
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(40) == 0
    assert not _processes(folder)


def test_a_port_in_use_is_reported_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [*DEMO, str(port)], capture_output=True, text=True, timeout=START_S, check=False
        )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr
