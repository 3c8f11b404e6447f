"""The result of `pip install .`: every file of the packages, and the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.requirements import missing

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "protocols")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    if not (ROOT / ".git").exists():
        missing("this tree is no git clone, so nobody can say what the wheel should hold")
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy of what is under version control: setuptools leaves a build folder behind.
    source = folder / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.Path(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.Path) -> None:
    command = ["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD", *PACKAGES]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    inside = set(wheel.root.namelist())
    assert [name for name in listed.stdout.split() if name not in inside] == []


def test_the_wheel_holds_nothing_beside_them(wheel: zipfile.Path) -> None:
    tops = {name.partition("/")[0] for name in wheel.root.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.Path) -> None:
    facts = next(entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    assert "rhopush = gateway.cli:main" in (facts / "entry_points.txt").read_text()
    assert "MIT License" in (facts / "licenses" / "LICENSE").read_text()
