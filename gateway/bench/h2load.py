"""The peer h2load, nghttp2's load tool in C: the rate that one HTTP/2 connection reaches on this machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from gateway.bench.errors import CannotMeasure
from gateway.bench.population import pin

STREAMS: Final = 1000
"""The number of concurrent streams that the simulator and APNs permit."""
BODY: Final = (
    '{"aps":{"alert":"Order 0000000 is on its way","sound":"hello.mp3","vibrate":"2000",'
    '"content-available":1},"do_sync":["Product"],"vibrate":"2000"}'
)
_FINISHED: Final = re.compile(r"finished in ([\d.]+)(us|ms|s)\b")
_STATUSES: Final = re.compile(r"status codes: (\d+) 2xx")
_MEAN: Final = re.compile(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)\b")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class H2loadResult(NamedTuple):
    """Requests answered with 2xx; wall clock, mean response time and CPU of its process, in seconds; the exact
    command."""

    accepted: int
    seconds: float
    mean_s: float
    cpu_s: float
    command: str


def find() -> str:
    """The path of h2load.

    Raises:
        CannotMeasure: it is not installed.
    """
    found = shutil.which("h2load")
    if found is None:
        raise CannotMeasure("h2load is not installed (Debian package nghttp2-client)")
    return found


def write_paths(folder: Path, requests: int) -> Path:
    """Write a file with the path of each request: as many push tokens as the gateway sends to."""
    file = folder / "paths"
    file.write_text("".join(f"/3/device/{pin(number)}\n" for number in range(requests)))
    return file


def run(
    port: int,
    paths: Path,
    requests: int,
    authorization: str,
    topic: str,
    streams: int = STREAMS,
    rate: float = 0.0,
) -> H2loadResult:
    """Send requests over one connection with the headers of a push, `streams` at a time.

    `rate`: requests a second; 0: as fast as responses arrive.

    Headers that differ in each push of the gateway (apns-id, apns-collapse-id) are the same in all of h2load's,
    since h2load supports no others: it compresses them better, to its advantage.

    Raises:
        CannotMeasure: it failed, or not all requests were answered with 2xx.
    """
    body = paths.with_name("body")
    body.write_text(BODY)
    headers = {
        "authorization": authorization,
        "apns-topic": topic,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": "1800000000",
        "apns-collapse-id": "0" * 32,
        "apns-id": "00000000-0000-0000-0000-000000000000",
    }
    command = [find(), "-n", str(requests), "-c", "1", "-m", str(streams), "-t", "1", "-d", str(body)]
    if rate:
        command.append(f"--rps={rate:g}")
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["-i", str(paths), "-B", f"https://127.0.0.1:{port}"]
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    finished, statuses = _FINISHED.search(done.stdout), _STATUSES.search(done.stdout)
    mean = _MEAN.search(done.stdout)
    if done.returncode or not finished or not mean or not statuses or int(statuses[1]) != requests:
        raise CannotMeasure(f"h2load: {(done.stderr or done.stdout).strip()[-300:]}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    # The token is a secret of the simulator's; a repetition of the run does not need it
    shown = " ".join(command).replace(authorization, "bearer …")
    return H2loadResult(requests, _seconds(finished), _seconds(mean), cpu_s, shown)


def _seconds(found: re.Match[str]) -> float:
    return float(found[1]) * _UNITS[found[2]]
