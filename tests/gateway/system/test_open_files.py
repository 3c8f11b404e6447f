"""The limit of open files is raised as far as needed and permitted."""

import subprocess
import sys

import pytest

from gateway.system.open_files import RESERVED_FILES, files_for

PROGRAM = """
import resource, subprocess, sys
from gateway.system.open_files import raise_open_files_limit
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
raise_open_files_limit(wanted)
print(*resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
child = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
subprocess.run([sys.executable, "-c", child], check=True)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [(64, 256, 128, 128), (64, 256, 1_000, 256), (128, 256, 64, 128)],
    ids=["as wanted", "up to the hard limit", "never lowered"],
)
def test_the_soft_limit_is_raised_for_children_too(soft: int, hard: int, wanted: int, expected: int) -> None:
    numbers = map(str, (soft, hard, wanted))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *numbers], check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == f"{expected} {hard}\n" * 2


def test_files_for_both_ports_are_wanted() -> None:
    assert files_for(1_000) == 2_000 + RESERVED_FILES
    assert files_for(None) > files_for(1_000)
