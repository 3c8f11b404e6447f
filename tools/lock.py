"""Update the lock files, or report that they are stale: `python tools/lock.py [--keep | --check]`.

`pyproject.toml` has ranges; `requirements/*.txt` have one version of each package, with the hashes of all its files on
the package index, so that one file serves Python 3.11 to 3.14 on Linux and macOS, x86-64 and ARM. pip installs them
with `--require-hashes`. uv writes the files. Each begins with a digest of its sources, so that the check needs no
network.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = "requirements"
PYTHON: Final = "3.11"
"""The oldest version of Python: packages must suit it and all later ones."""
FILES: Final[Mapping[str, str]] = {
    "build.txt": "packages that install and build packages: pip, the build back end and its dependencies",
    "dev.txt": "packages that `make test`, `make check`, `make bench` and `make docs` need",
    "tracing.txt": "packages of a gateway with the extra `tracing`, and of the image",
    "runtime.txt": "packages that the gateway needs",
}
"""The lock files, in the order in which they are made: each agrees with those before it."""
DIGEST: Final = "# pyproject.toml: sha256 "
STALE: Final = "stale lock files, since pyproject.toml asks for something else: {paths}; run `make lock`"
_INTEL_MACS: Final[Mapping[str, str]] = {"cryptography": "49"}
"""From these versions on there are no wheels for Intel Macs, which therefore get earlier versions."""
_INTEL_MAC: Final = "sys_platform == 'darwin' and platform_machine == 'x86_64'"
_OTHERS: Final = "sys_platform != 'darwin' or platform_machine != 'x86_64'"
_BUILD: Final = ("pip", "pbr")
"""Beside the build back-end: hdrhistogram has no wheel for Linux on ARM and for Intel Macs, and is built with pbr."""
_FOREIGN: Final = ("UV_FIND_LINKS", "UV_NO_INDEX", "PIP_FIND_LINKS")
"""Variables that add files of one machine, whose hashes no index has."""


def digest(pyproject: bytes) -> str:
    """Return the digest of all inputs of the lock files: the dependencies of every kind, and the versions of Python."""
    found = tomllib.loads(pyproject.decode())
    project = found["project"]
    parts: list[Any] = [
        found["build-system"]["requires"],
        project["requires-python"],
        project["dependencies"],
        project["optional-dependencies"],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def requirements(pyproject: bytes, extras: Sequence[str] = ()) -> list[str]:
    """The requirements of the project, with those of some extras, as pyproject.toml writes them."""
    project = tomllib.loads(pyproject.decode())["project"]
    found: list[str] = [*project["dependencies"]]
    for extra in extras:
        found += project["optional-dependencies"][extra]
    return found


def stale(root: Path) -> list[str]:
    """The lock files that were made from another pyproject.toml, or are not there."""
    wanted = DIGEST + digest((root / "pyproject.toml").read_bytes())
    found = []
    for name in FILES:
        path = root / FOLDER / name
        if not path.exists() or wanted not in path.read_text().splitlines()[:5]:
            found.append(f"{FOLDER}/{name}")
    return found


def renew(root: Path, *, keep: bool) -> None:
    """Write all lock files: all or none of them.

    Args:
        root: of the checkout.
        keep: whether versions stay where the ranges allow them; else each is the newest within its range.
    """
    pyproject = (root / "pyproject.toml").read_bytes()
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        (made / "build.in").write_text("\n".join([*_BUILD, *_build_requirements(pyproject)]) + "\n")
        (made / "macs.in").write_text("".join(_macs()))
        (made / "pyproject.toml").write_bytes(pyproject)
        for name in FILES:
            if keep and (folder / name).exists():
                (made / name).write_bytes((folder / name).read_bytes())
            _compile(made, name, keep=keep)
        for name, purpose in FILES.items():
            head = f"# Made by `make lock`, not by hand: {purpose}.\n{DIGEST}{digest(pyproject)}\n"
            (folder / name).write_text(head + (made / name).read_text())


def _macs() -> Iterator[str]:
    for name, version in _INTEL_MACS.items():
        yield f"{name}>={version} ; {_OTHERS}\n"
        yield f"{name}<{version} ; {_INTEL_MAC}\n"


def _build_requirements(pyproject: bytes) -> list[str]:
    found: list[str] = tomllib.loads(pyproject.decode())["build-system"]["requires"]
    return found


def _compile(folder: Path, name: str, *, keep: bool) -> None:
    sources = {
        "build.txt": ["build.in"],
        "dev.txt": ["pyproject.toml", "macs.in", "--all-extras", "--constraints", "build.txt"],
        "tracing.txt": ["pyproject.toml", "--extra", "tracing", "--constraints", "dev.txt"],
        "runtime.txt": ["pyproject.toml", "--constraints", "dev.txt"],
    }
    command: Sequence[str] = (
        str(Path(sysconfig.get_path("scripts")) / "uv"),
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--python-version", PYTHON),
        *(() if keep else ("--upgrade",)),
        *("--output-file", name, *sources[name]),
    )
    environ = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    subprocess.run(command, cwd=folder, env=environ, check=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Update the lock files.")
    parser.add_argument("--keep", action="store_true", help="keep each version that the ranges allow")
    parser.add_argument("--check", action="store_true", help="only report whether they are stale")
    options = parser.parse_args(arguments)
    if not options.check:
        try:
            renew(ROOT, keep=options.keep)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"make lock: the lock files stay as they were: {error}", file=sys.stderr)
            return 1
        return 0
    found = stale(ROOT)
    if found:
        print(STALE.format(paths=", ".join(found)), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
