"""The lock files: one for every Python and platform, with hashes and without hosts; stale ones are reported."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import lock

ROOT = Path(__file__).parents[2]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
PYTHONS = ("3.11.9", "3.12.9", "3.13.9", "3.14.1")
MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "x86_64"), ("darwin", "arm64"))


def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """Each requirement of a lock file with its hashes."""
    text = (ROOT / lock.FOLDER / name).read_text().replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            found.append((Requirement(requirement), [f"--hash={one.strip()}" for one in hashes]))
    return found


@pytest.mark.parametrize("name", lock.FILES)
def test_every_requirement_is_one_version_with_hashes(name: str) -> None:
    found = entries(name)
    assert found
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(HASH.fullmatch(one) for one in hashes), requirement


@pytest.mark.parametrize("name", lock.FILES)
def test_no_lock_file_names_a_host_or_a_folder(name: str) -> None:
    text = (ROOT / lock.FOLDER / name).read_text()
    assert re.findall(r"^\s*(--[a-z-]+|-[a-z])\b(?<!--hash)", text, re.MULTILINE) == []
    assert "://" not in text
    assert "/" not in text
    assert "file:" not in text


@pytest.mark.parametrize("machine", MACHINES, ids="-".join)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("name", "extras"),
    [("runtime.txt", ()), ("tracing.txt", ("tracing",)), ("dev.txt", ("test", "bench", "check", "docs"))],
)
def test_each_platform_gets_one_version_of_all_that_pyproject_asks_for(
    name: str, extras: tuple[str, ...], python: str, machine: tuple[str, str]
) -> None:
    environment = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": machine[0],
        "platform_system": machine[0].title(),
        "platform_machine": machine[1],
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "os_name": "posix",
        "extra": "",
    }
    versions: dict[str, str] = {}
    for requirement, _ in entries(name):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in versions
            versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    asked = lock.requirements((ROOT / "pyproject.toml").read_bytes(), extras)
    assert len(asked) > 10
    for text in asked:
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text


def test_files_for_other_platforms_are_among_the_hashes() -> None:
    """All hashes of the index are present, not only those for the machine that made the lock."""
    hashes = {requirement.name: len(found) for requirement, found in entries("dev.txt")}
    assert hashes["msgspec"] > 20
    assert hashes["uvloop"] > 20


def test_the_runtime_is_a_part_of_the_packages_with_tracing_and_these_of_what_is_tested() -> None:
    runtime, tracing, tested = (
        {str(requirement).split(";")[0] for requirement, _ in entries(name)}
        for name in ("runtime.txt", "tracing.txt", "dev.txt")
    )
    assert runtime < tracing < tested
    assert {str(requirement) for requirement, _ in entries("build.txt")} <= {*tested, *_pips()}


def _pips() -> list[str]:
    return [str(requirement) for requirement, _ in entries("build.txt") if requirement.name == "pip"]


def test_the_lock_files_are_up_to_date() -> None:
    assert lock.stale(ROOT) == []


def copy(folder: Path) -> Path:
    shutil.copytree(ROOT / lock.FOLDER, folder / lock.FOLDER)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "lock.py", folder / "tools")
    return folder


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"structlog>=25"', '"structlog>=25,<27"'),
        ('"structlog>=25"', '"structlog>=25", "tomli"'),
        ('"pytest>=8.3"', '"pytest>=9"'),
        ('["setuptools>=77"]', '["setuptools>=78"]'),
        ('requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
    ],
)
def test_a_changed_dependency_makes_every_lock_file_stale(tmp_path: Path, old: str, new: str) -> None:
    file = copy(tmp_path) / "pyproject.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert lock.stale(tmp_path) == [f"requirements/{name}" for name in lock.FILES]


def test_another_change_of_pyproject_does_not(tmp_path: Path) -> None:
    file = copy(tmp_path) / "pyproject.toml"
    file.write_text(file.read_text().replace("line-length = 110", "line-length = 111"))
    assert lock.stale(tmp_path) == []


def test_a_missing_lock_file_is_stale(tmp_path: Path) -> None:
    (copy(tmp_path) / lock.FOLDER / "dev.txt").unlink()
    assert lock.stale(tmp_path) == ["requirements/dev.txt"]


def test_a_stale_lock_file_is_one_clear_line_that_names_make_lock(tmp_path: Path) -> None:
    """Without a network: no proxy of this environment can be reached."""
    root = copy(tmp_path)
    command = [sys.executable, str(root / "tools" / "lock.py"), "--check"]
    environ = os.environ | {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (root / lock.FOLDER / "build.txt").write_text("pip\n")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "stale lock files, since pyproject.toml asks for something else: "
        "requirements/build.txt; run `make lock`\n"
    )


def test_everything_installs_from_the_lock_files() -> None:
    """Users, CI and the container install from these files: never a package without its hash."""
    makefile = (ROOT / "Makefile").read_text()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    installs = re.findall(r"\$\(PIP_INSTALL\)(.*)$", makefile, re.MULTILINE)
    installs += re.findall(r"pip install([^&\n]*)", dockerfile)
    assert len(installs) >= 8
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps" in arguments, arguments
    assert "--no-build-isolation --editable ." in makefile
    assert "pip wheel --no-deps --no-build-isolation" in dockerfile
