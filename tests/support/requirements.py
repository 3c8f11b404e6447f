"""Requirements of tests on the machine: if one is missing, the test is skipped, and fails in CI.

In CI (`CI=true`) no test may be skipped: a missing program is a fault of the set-up, not of the machine.
"""

import os
import shutil
from pathlib import Path

import pytest


def missing(reason: str) -> None:
    """End the running test or fixture: a failure in CI, a skip with its reason anywhere else."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"{reason}; in CI nothing is skipped", pytrace=False)
    pytest.skip(reason)


def need_program(name: str, package: str) -> str:
    """The path of a program on PATH.

    Args:
        name: the program, e.g. `redis-server`.
        package: its Debian package, for the message.
    """
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed (Debian package {package}; `make test` as root installs it)")
    return str(found)


def need_file(path: str, package: str) -> Path:
    """A file that a Debian package installs, e.g. a Java archive."""
    if not Path(path).exists():
        missing(f"{path} does not exist (Debian package {package}; `make test` as root installs it)")
    return Path(path)
